# SPDX-License-Identifier: Apache-2.0
"""The synthetic demo cohort: healthy brains and four pathologies, made on the user's machine.

Synthetic scans show that the software runs; they say nothing about results on patients.
"""

from collections.abc import Mapping

from .base import DatasetDeclaration, cross_validation_files, patient_files


def _declared(name: str, title: str, folder: str, split_files: Mapping[str, str]) -> DatasetDeclaration:
    return DatasetDeclaration(
        name=name,
        title=f"Demo cohort, {title}",
        citation="Synthetic; shapes from the ICBM 2009a template, Fonov et al., NeuroImage 2011, 54(1):313-327",
        licence="generated locally; template: permissive licence of the Montreal Neurological Institute",
        contrasts=("t1", "t2", "flair"),
        healthy="train" in split_files,
        folder=f"{folder}/{name}",
        split_files=split_files,
        how_to_get="make it with: uad cohort DATA",
    )


_PATIENTS = {
    "tumour": "tumours",
    "ms": "multiple sclerosis",
    "stroke": "strokes",
    "wmh": "white matter hyperintensities",
}
DECLARATIONS = (
    _declared("demo", "healthy", "Train", cross_validation_files("demo")),
    *(_declared(f"demo_{kind}", title, "Test", patient_files(f"demo_{kind}")) for kind, title in _PATIENTS.items()),
)
