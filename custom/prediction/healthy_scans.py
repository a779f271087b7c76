# SPDX-License-Identifier: Apache-2.0
"""Where the healthy scans behind a calibration come from, and what that says about another scan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..volumes.scanner import same_scanner


@dataclass(frozen=True)
class HealthyScans:
    """The healthy scans that thresholds and percentiles come from.

    Attributes:
        number: of scans, 0 if it was not recorded.
        source: where they are from: the scanner's name after ``uad calibrate``, else the data set.
        scanners: what the files said about their scanners, and the name that the user gave; empty: nothing is known.
        brain_extraction: sources of their brain masks; empty: they came with masks or as extracted brains.

    >>> healthy = HealthyScans(number=12, scanners=("Siemens Prisma",))
    >>> healthy.unlike("Siemens Prisma", "given mask")
    []
    >>> healthy.unlike("GE Signa", "given mask")[0].partition(":")[0]
    'not calibrated for this scanner (GE Signa)'
    """

    number: int = 0
    source: str = ""
    scanners: tuple[str, ...] = ()
    brain_extraction: tuple[str, ...] = ()

    @classmethod
    def of(cls, calibration: Mapping[str, Any]) -> "HealthyScans":
        """Read them from the ``calibration`` section of ``model.json``."""
        scanner = str(calibration.get("scanner") or "")
        return cls(
            int(calibration.get("healthy_scans") or 0),
            scanner,
            tuple(str(name) for name in (*calibration.get("stated_scanners", ()), scanner) if name),
            tuple(str(name) for name in calibration.get("brain_extraction", ())),
        )

    def unlike(self, scanner: str, brain_extraction: str) -> list[str]:
        """Return a sentence for each difference of a scan's origin to that of the healthy scans."""
        remedy = "thresholds, percentiles and expected volumes may be wrong; 'uad calibrate' adapts them to healthy scans of yours"
        found = []
        if scanner and not any(same_scanner(scanner, own) for own in self.scanners):
            known = " and ".join(self.scanners) or "scans of other scanners"
            found.append(f"not calibrated for this scanner ({scanner}): the thresholds are those of {known}; {remedy}")
        extracted_here = brain_extraction not in ("", "given mask", "already extracted")
        if extracted_here and brain_extraction not in self.brain_extraction:
            known = " and ".join(self.brain_extraction) or "brains that came extracted"
            found.append(
                f"not calibrated for scans prepared like this one (brain extracted by {brain_extraction}): the thresholds are "
                f"those of {known}; {remedy}"
            )
        return found
