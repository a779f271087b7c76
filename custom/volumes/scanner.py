# SPDX-License-Identifier: Apache-2.0
"""Which scanner a scan says that it comes from: DICOM tags, or the JSON file that BIDS has beside a NIfTI file.

>>> scanner_name({"Manufacturer": "Siemens", "ManufacturersModelName": "Skyra", "MagneticFieldStrength": 3.0})
'Siemens Skyra 3 T'
>>> same_scanner("SIEMENS Skyra, 3T", "Siemens Skyra 3 T")
True
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DICOM_TAGS = {
    "Manufacturer": "0008|0070",
    "ManufacturersModelName": "0008|1090",
    "MagneticFieldStrength": "0018|0087",
}
_LARGEST_SIDECAR_BYTES = 2**20
_LONGEST = 120


def scanner_name(said: Mapping[str, Any]) -> str:
    """Return manufacturer, model and field strength (tesla) of BIDS metadata as one line, "" if there is none."""
    words = [said.get("Manufacturer"), said.get("ManufacturersModelName", said.get("ManufacturerModelName"))]
    named = [" ".join(word.split()) for word in words if isinstance(word, str) and word.strip()]
    if not named:
        return ""
    try:
        tesla = float(said.get("MagneticFieldStrength", "nan"))
    except (TypeError, ValueError):
        tesla = math.nan
    if 0 < tesla < 30:
        named.append(f"{tesla:.2g} T")
    return "".join(letter for letter in " ".join(named) if letter.isprintable())[:_LONGEST]


def scanner_of_dicom(tags: Mapping[str, str]) -> str:
    """Return the scanner from DICOM tags (``"0008|0070"`` -> text)."""
    return scanner_name({name: tags[tag] for name, tag in DICOM_TAGS.items() if tag in tags})


def scanner_of_sidecar(path: Path) -> str:
    """Return the scanner from the JSON file beside a NIfTI file, "" if there is none that can be read."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    sidecar = path.with_name(f"{stem}.json")
    try:
        if not sidecar.is_file() or sidecar.stat().st_size > _LARGEST_SIDECAR_BYTES:
            return ""
        said = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return scanner_name(said) if isinstance(said, dict) else ""


def same_scanner(first: str, second: str) -> bool:
    """Whether two names differ in nothing but case, blanks and punctuation."""
    one, two = ("".join(letter for letter in name.casefold() if letter.isalnum()) for name in (first, second))
    return one == two
