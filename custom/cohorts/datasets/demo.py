# SPDX-License-Identifier: Apache-2.0
"""The synthetic demo cohort: healthy brains and four pathologies, made on the user's machine."""

from .base import DatasetDeclaration, cross_validation_files, patient_files

_CITATION = "Synthetic; shapes from the ICBM 2009a template, Fonov et al., NeuroImage 2011, 54(1):313-327"
_LICENCE = "generated locally; template: permissive licence of the Montreal Neurological Institute"
_COMMAND = "make it with: uad cohort DATA"
_NOTES = ("Synthetic scans show that the software runs; they say nothing about results on patients.",)


def _patients(kind: str, title: str) -> DatasetDeclaration:
    return DatasetDeclaration(
        name=f"demo_{kind}",
        title=f"Demo cohort, {title}",
        citation=_CITATION,
        licence=_LICENCE,
        contrasts=("t1", "t2"),
        healthy=False,
        folder=f"Test/demo_{kind}",
        split_files=patient_files(f"demo_{kind}"),
        how_to_get=_COMMAND,
        notes=_NOTES,
    )


DECLARATIONS = (
    DatasetDeclaration(
        name="demo",
        title="Demo cohort, healthy",
        citation=_CITATION,
        licence=_LICENCE,
        contrasts=("t1", "t2"),
        healthy=True,
        folder="Train/demo",
        split_files=cross_validation_files("demo"),
        how_to_get=_COMMAND,
        notes=_NOTES,
    ),
    _patients("tumour", "tumours"),
    _patients("ms", "multiple sclerosis"),
    _patients("stroke", "strokes"),
    _patients("wmh", "white matter hyperintensities"),
)
