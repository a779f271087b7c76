# SPDX-License-Identifier: Apache-2.0
"""IXI: healthy adults from three London hospitals; training, healthy validation and healthy test of the papers."""

from .base import DatasetDeclaration, counts, cross_validation_files

DECLARATIONS = (
    DatasetDeclaration(
        name="ixi",
        title="IXI",
        citation="IXI dataset, https://brain-development.org/ixi-dataset/",
        licence="CC BY-SA 3.0",
        contrasts=("t1", "t2"),
        healthy=True,
        folder="Train/ixi",
        split_files=cross_validation_files("IXI"),
        expected_counts=counts(train=358, val=44, test=158),
        subject_pattern=r"(IXI\d+)",
        known_missing_t2=frozenset({"IXI116", "IXI182", "IXI309", "IXI500"}),
        how_to_get="download T1, T2 and the demographics from https://brain-development.org/ixi-dataset/",
        notes=(
            "The split lists that circulate with the papers hold 25 subjects twice (two demographic rows): duplicates "
            "in train, 7 to 9 subjects both in train and test, validation lists that overlap between folds. "
            "`uad splits` makes clean ones.",
            "The papers name 358 training scans; the circulating lists have 387 rows for 374 to 377 subjects.",
        ),
    ),
)
