# SPDX-License-Identifier: Apache-2.0
"""What is declared about a data set: names, folders, split files, licence, expected numbers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...core.errors import ConfigError


@dataclass(frozen=True)
class DatasetDeclaration:
    """Facts about one data set; a new data set is one module with a tuple ``DECLARATIONS`` of these.

    Attributes:
        name, title: key used in configs, lower case, and name for people.
        citation, licence: of the images; nothing of them is shipped here.
        contrasts: contrasts that the data set can be used in.
        healthy: True for data sets without pathology (training, calibration).
        folder: folder under the data root that holds ``t1``, ``t2``, ``mask``, ``seg``.
        split_files: split -> file name in ``splits/``; ``{fold}`` marks lists that exist once per fold.
        expected_counts: split -> number of scans in the papers, empty where there is none.
        subject_pattern: regular expression whose first group in a case id is the subject.
        known_missing_t2: subjects known to have no T2 scan; they leave the lists in T2 without an error.
        how_to_get: command or place from which the files come.

    >>> from custom.cohorts.datasets import DATASETS
    >>> ixi = DATASETS["ixi"]
    >>> ixi.split_file("train", fold=0), ixi.subject_of("IXI105-HH-1471")
    ('IXI_train_fold0.csv', 'IXI105')
    """

    name: str
    title: str
    citation: str
    licence: str
    contrasts: tuple[str, ...]
    healthy: bool
    folder: str
    split_files: Mapping[str, str]
    how_to_get: str
    expected_counts: Mapping[str, int] = field(default_factory=dict)
    subject_pattern: str = r"(.+)"
    known_missing_t2: frozenset[str] = frozenset()

    def subject_of(self, case_id: str) -> str:
        """Return the subject of a case id (the whole id where the pattern does not match)."""
        match = re.match(self.subject_pattern, case_id)
        return match.group(1) if match else case_id

    def split_file(self, split: str, fold: int | None = None) -> str:
        """Return the file name of a split list, for example ``IXI_train_fold0.csv``."""
        if split not in self.split_files:
            raise ConfigError(
                f"{self.name} has no split {split!r}; it has {', '.join(map(repr, self.split_files))}. "
                "Healthy data sets have train, val and test, patient data sets val (threshold) and test."
            )
        pattern = self.split_files[split]
        if "{fold}" not in pattern:
            return pattern
        if fold is None or fold < 0:
            raise ConfigError(f"the {split} lists of {self.name} exist once per fold: give fold=0..4, got {fold!r}")
        return pattern.format(fold=fold)

    def has_folds(self, split: str) -> bool:
        """Say whether the list of this split exists once per fold."""
        return "{fold}" in self.split_files.get(split, "")

    def count_note(self, split: str, found: int) -> str | None:
        """Return a sentence if the number of scans differs from the papers', else None."""
        expected = self.expected_counts.get(split)
        if expected is None or expected == found:
            return None
        return f"{self.title} {split}: {found} scans, the papers have {expected}"


def cross_validation_files(prefix: str) -> Mapping[str, str]:
    """Return the papers' file names of a healthy data set: one train and val list per fold, one test list."""
    folds = {part: f"{prefix}_{part}_fold{{fold}}.csv" for part in ("train", "val")}
    return {**folds, "test": f"{prefix}_test.csv"}


def patient_files(prefix: str) -> Mapping[str, str]:
    """Return the papers' file names of a patient data set: val for the threshold, test for the result."""
    return {part: f"{prefix}_{part}.csv" for part in ("val", "test")}
