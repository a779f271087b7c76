# SPDX-License-Identifier: Apache-2.0
"""Everything that can be wrong with scans, masks and lists: every code with its severity, why it matters and what to do.

An "error" would stop a run or spoil its result; a "warning" asks the user to look. A text is written here once, so
that the same fault reads the same in every file, whoever finds it: :meth:`custom.core.errors.DataError.of` makes the
sentence of an error from its code, and the check of a data root makes its table from it.
"""

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Code(NamedTuple):
    """Severity, why it matters, remedy.

    >>> CODES["web-page"].severity, CODES["web-page"].why
    ('error', 'the download saved a page instead of the scan')
    """

    severity: Severity
    why: str
    remedy: str


_COPY = "copy or download the file again"
_HEADER = "write the file again from its source, or correct the header"
_RESAMPLE = "resample it to its image with nearest neighbours"
_LIST = "correct the row of the list"
_REPAIR = (
    "repair the file (the check of a data root sets those outside the brain mask to 0: --repair nan=0), or leave it out"
)
_SPLITS = "make clean lists with `uad splits`, or take the scan out of one of the lists"

CODES: dict[str, Code] = {
    # the bytes of a file
    "missing-file": Code("error", "the run would stop at it", "add the file, or take the row out of the list"),
    "unreadable": Code("error", "the run would stop at it", "check path and permissions; " + _COPY),
    "empty-file": Code("error", "it holds no scan", _COPY),
    "not-a-file": Code("error", "reading it could wait for ever", "give a regular file"),
    "not-downloaded": Code("error", "it only stands for the scan", "fetch the content first"),
    "web-page": Code(
        "error", "the download saved a page instead of the scan", "download it again, after logging in where needed"
    ),
    "archive": Code("error", "a scan inside an archive is not looked for", "unpack it first"),
    "wrong-ending": Code("error", "readers choose the format by the name", "rename the file as it is stored"),
    "damaged": Code("error", "voxels are missing or wrong", _COPY),
    "not-nifti": Code("error", "it cannot be read as a scan", "convert the scan to one .nii.gz file"),
    "surplus-bytes": Code("error", "header and voxels do not belong together, or the file was damaged", _HEADER),
    # its header
    "bad-header": Code("error", "the voxels cannot be found", _HEADER),
    "bad-dimensions": Code("error", "the size is unknown", _HEADER),
    "bad-datatype": Code("error", "the voxels cannot be decoded", _HEADER),
    "bad-scaling": Code("error", "the intensities are unknown", _HEADER),
    "bad-spacing": Code("error", "volumes and distances would be wrong", _HEADER),
    "bad-affine": Code("error", "position and orientation are unknown", _HEADER),
    "not-3d": Code("error", "a structural scan is one 3-D volume", "extract the volume to be used into a 3-D file"),
    "not-real": Code("error", "intensities must be one real number", "save the magnitude image"),
    "too-large": Code(
        "error",
        "it would fill the memory",
        "check the header; crop or resample the scan, or take a machine with more memory",
    ),
    "forms-disagree": Code("error", "left and right could be exchanged", "set sform_code or qform_code to 0"),
    "forms-differ": Code("warning", "programs differ in which one they read; the sform is used here", _HEADER),
    "qform-ignored": Code("warning", "other programs may place the scan elsewhere", _HEADER),
    "orientation-unknown": Code("warning", "left and right are not certain", "set the orientation in the header"),
    "scaling-assumed": Code("warning", "the slope is taken as 1", _HEADER),
    "trailing-dimensions": Code("warning", "other programs may see a series", "save the scan as 3-D"),
    "spacing-unexpected": Code(
        "error", "the brain would have another size than in training", "register the scan to the 1 mm atlas grid first"
    ),
    # DICOM
    "dicom-none": Code("error", "there is nothing to read", "give the folder that directly holds one DICOM series"),
    "dicom-several": Code("error", "they would be mixed into one volume", "put exactly one volume into a folder"),
    "dicom-geometry": Code(
        "error",
        "sizes and places would be guessed",
        "export the original series, or convert it with dcm2niix and check it",
    ),
    "dicom-slices": Code("error", "slices are missing, doubled or irregular", "export the complete series"),
    "dicom-enhanced": Code(
        "error", "its frames cannot be told apart without it", "install it, or convert the file to NIfTI"
    ),
    "dicom-note": Code("warning", "the file needed an interpretation", "look at the scan in a DICOM viewer"),
    # 2-D pictures
    "picture-note": Code(
        "warning", "the values are not those of the scanner", "use the original images where there are any"
    ),
    # its voxels
    "nan-voxels": Code("error", "one of them would spoil the whole map", _REPAIR),
    "infinite-voxels": Code("error", "they would be clipped in silence", _REPAIR),
    "not-a-scan": Code(
        "error", "a map of labels or probabilities has no tissue contrast to score", "give the scan itself"
    ),
    "no-signal": Code("error", "there is nothing to score", "export the scan again"),
    "label-values": Code("error", "it was interpolated: 'above 0' would make it larger", _RESAMPLE),
    "label-merged": Code("warning", "all labels above 0 count as one", "remove labels that shall not count"),
    # files of one scan against each other
    "grid-shape": Code("error", "voxels would be compared with other places", _RESAMPLE),
    "grid-position": Code("error", "it belongs to another grid", _RESAMPLE),
    "mask-none": Code(
        "warning", "what is not background is taken as brain", "make a brain mask and name it in the list"
    ),
    "mask-empty": Code("error", "there is nothing to score", "make the brain mask again"),
    "mask-implausible": Code("warning", "a brain covers 5 % to 90 % of the volume", "look at the brain mask"),
    "mask-elsewhere": Code("warning", "it may be the mask of another scan", "look at mask and image together"),
    "seg-empty": Code("warning", "Dice is not defined for the case", "check the label and the lesion mask"),
    "seg-outside-mask": Code("warning", "lesions outside the brain mask are never found", "look at both masks"),
    # the lists
    "list-missing": Code("error", "nothing can be run without it", "make it with `uad splits`"),
    "list-unreadable": Code("error", "nothing can be run without it", "save it as 'CSV UTF-8' with ',' between cells"),
    "list-columns": Code("error", "the rows cannot be understood", "add the missing columns, with ',' between cells"),
    "list-changed": Code(
        "error",
        "results would not belong to the stated split",
        "make the lists again with `uad splits`, or delete splits/splits.json to make the change your own",
    ),
    "list-empty": Code("error", "there is nothing to do", "add scans to the list"),
    "row-cells": Code("error", "the columns of the row are shifted", "quote cells that contain commas"),
    "row-id": Code("error", "ids become names of result files", "use only letters, digits, '.', '_' and '-'"),
    "row-label": Code("error", "healthy and pathological scans would be mixed", "use 0 (healthy) or 1 (pathological)"),
    "row-age": Code("error", "spreadsheets turn numbers into dates", "give years as a number, or leave the cell empty"),
    "row-path": Code("error", "files outside the data root would be read", "use paths relative to the data root"),
    "row-contrast": Code("error", "the other contrast cannot be found by its name", _LIST),
    "row-no-seg": Code("error", "every detection would count as a miss", "name the lesion mask in seg_path"),
    "missing-contrast": Code("error", "the data set cannot be run in it", "add the scans, or choose another contrast"),
    # scans against each other
    "duplicate-scan": Code("error", "it weighs more than the others", "list it once"),
    "repeated-subject": Code("warning", "scans of one person are not independent", "keep one scan a person"),
    "leak-subject": Code("error", "results on scans of known persons are too good", _SPLITS),
    "leak-voxels": Code("error", "results on scans seen before are too good", _SPLITS),
    "same-voxels": Code("error", "one scan counts several times", "keep one of them"),
    "similar-voxels": Code("error", "one scan, saved twice, counts several times", "keep one of them"),
    "pathology-in-healthy": Code("error", "the model would learn lesions as normal", "take it out of the healthy list"),
    "too-few": Code("error", "training needs at least 2 scans", "add scans to the list"),
    "missing-fold": Code("error", "the fold cannot be run", "make it with `uad splits`"),
}
