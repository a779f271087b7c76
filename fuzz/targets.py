# SPDX-License-Identifier: Apache-2.0
"""What reads foreign bytes, each as one function of bytes; anything but a ``UADError`` that comes out is a defect.

A target has valid examples to start from and words that its format knows; :mod:`run` mutates them.
"""

import gzip
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from custom.benchmark.spec import read_spec
from custom.cohorts.datasets import get_dataset
from custom.cohorts.gate.cache import CACHE_FILE, CACHE_VERSION, FileCache
from custom.cohorts.gate.inspect import FileReport, inspect_file
from custom.cohorts.gate.lists import read_lists
from custom.cohorts.split_csv import check_stamp, read_split
from custom.core.digests import with_digest
from custom.core.errors import UADError
from custom.core.files import read_json
from custom.evaluation import promote
from custom.models.weights import metadata_of, read_state_dict
from custom.prediction.calibration import Calibration
from custom.release.manifest import read_manifest
from custom.runs.arguments import check_arguments
from custom.runs.model_content import check_content
from custom.runs.model_folder import ModelFolder
from custom.runs.record import RunRecord
from custom.volumes.read import read_label, read_scan
from custom.volumes.scan import Scan


@dataclass(frozen=True)
class Target:
    """One reader: its name, ``check(data, folder)``, valid examples, words worth inserting."""

    name: str
    check: Callable[[bytes, Path], None]
    examples: tuple[bytes, ...]
    words: tuple[bytes, ...]


def run_target(target: Target, data: bytes) -> None:
    """Feed ``data`` to the target in a fresh folder; foreseen errors are swallowed, others leave."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        target.check(data, Path(folder))


def _tolerant(*calls: Callable[[], object]) -> None:
    for call in calls:
        try:
            call()
        except UADError as error:
            if not str(error).strip():
                raise AssertionError("an error without a message") from error


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _csv(data: bytes, folder: Path) -> None:
    path = _file(folder, "splits/IXI_test.csv", data)
    declaration = get_dataset("ixi", ".")
    (read,) = read_lists(folder, declaration)
    records = read.as_split(folder, declaration, "t2").records
    for record in records:
        for file in (record.image, record.mask, record.seg):
            if file is not None and ".." in file.relative_to(folder).parts:
                raise AssertionError(f"{file} leaves the data root")
    _tolerant(lambda: read_split(path, folder, "t1", declaration, check_files=False))


def _nifti(data: bytes, folder: Path) -> None:
    image = Scan(np.ones((3, 4, 5), np.float32), np.eye(4), "nifti")
    packed = gzip.compress(data, 1) if not data.startswith(b"\x1f\x8b") else data
    for path in (_file(folder, "a.nii", data), _file(folder, "a.nii.gz", packed)):
        for kind in ("image", "label"):
            report = inspect_file(path, kind)  # type: ignore[arg-type]
            if FileReport.from_json(json.loads(json.dumps(vars(report)))) != report and "nan" not in repr(report):
                raise AssertionError("the report changes when it is stored")
        _tolerant(
            lambda path=path: read_scan(path, "case"),
            lambda path=path: read_label(path, image, "case", "seg"),
            lambda path=path: read_label(path, image, "case", "mask", 0.5),
        )


def _with_digest(data: bytes) -> bytes:
    try:
        value = json.loads(data)
        return json.dumps(with_digest(value)).encode() if isinstance(value, dict) else data
    except (ValueError, RecursionError):
        return data


def _sidecar(name: str, call: Callable[[Path], object]) -> Callable[[bytes, Path], None]:
    def check(data: bytes, folder: Path) -> None:
        _file(folder, "splits/IXI_test.csv", b"x")
        for content in (data, _with_digest(data)):  # what stands behind the check of the digest is fuzzed too
            _file(folder, name, content)
            _tolerant(lambda: call(folder))

    return check


def _every_part(folder: Path) -> None:
    """Build all parts whatever the digest says: somebody may have computed it."""
    content = read_json(folder / "model.json", "")
    check_content(content, folder / "model.json")
    model = ModelFolder(folder, content)
    for part in content["parts"]:
        model.build(part)


_SIDECARS: tuple[tuple[str, str, Callable[[Path], object]], ...] = (
    ("model", "model.json", ModelFolder.read),
    ("parts", "model.json", _every_part),
    ("calibrated", "model.json", lambda folder: Calibration.of(ModelFolder.read(folder))),
    ("promoted", "calibration.json", lambda folder: promote(folder, folder)),
    ("record", "run.json", RunRecord.read),
    ("stamp", "splits/splits.json", lambda folder: check_stamp(folder / "splits/IXI_test.csv")),
    ("cache", CACHE_FILE, lambda folder: FileCache(folder).get(folder / "splits/IXI_test.csv", "image")),
    (
        "arguments",
        "c.json",
        lambda folder: check_arguments(["run", "--config_file", str(folder / "c.json"), "--lr", "1"]),
    ),
    ("matrix", "matrix.json", lambda folder: read_spec(folder / "matrix.json")),
)


def _manifest(data: bytes, folder: Path) -> None:
    path = _file(folder, "manifest.json", data)

    def read() -> None:
        for name in read_manifest(path):
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise AssertionError(f"{name!r} leaves the folder")

    _tolerant(read)


def _weights(data: bytes, folder: Path) -> None:
    tensors, pickled = _file(folder, "a.safetensors", data), _file(folder, "a.pt", data)
    _tolerant(lambda: read_state_dict(tensors), lambda: read_state_dict(pickled), lambda: metadata_of(tensors))


def _nifti_examples() -> tuple[bytes, ...]:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5) % 2
    images = [nib.Nifti1Image(array.astype(t), np.eye(4)) for t in (np.int16, np.float32, np.uint8)]
    images.append(nib.Nifti2Image(array, np.diag([2.0, 2, 2, 1])))
    plain = [image.to_bytes() for image in images]
    return (*plain, gzip.compress(plain[0]))


def _safetensors_example() -> bytes:
    header = json.dumps(
        {"__metadata__": {"a": "b"}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


_JSON_WORDS = (
    *(
        b"[" * 20_000,
        b'{"a":' * 3_000,
        b"NaN",
        b"1e999",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b"-1",
        b"0",
        b"1" * 5_000,
    ),
    *(b'"\\ud800"', b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b'"a":1,', b'"version"', b'"files"', b"3.5"),
)
_ROW = b"IXI105-HH_t1.nii.gz,44,0,/Train/ixi/t1/IXI105-HH_t1.nii.gz,/Train/ixi/mask/IXI105-HH_mask.nii.gz,\n"
_PARTS = {
    "network": {
        "_target_": "torch.nn.Conv2d",
        "_mode_": "callable",
        "in_channels": 1,
        "out_channels": 1,
        "kernel_size": 3,
    },
    "noise": {"_target_": "custom.noise.GaussianNoise"},
    "patches": {"_target_": "custom.noise.GridPatches", "patch_px": 48, "stride_px": None},
    "preparation": {"_target_": "custom.preparation.prepare.Preparation", "name": "standard"},
}
_CALIBRATION = {
    **{
        "score": "l1",
        "scoring": {"_target_": "custom.scoring.l1", "_mode_": "callable"},
        "spacing_mm": [2.0, 2.0, 2.0],
    },
    **{"postprocessing": {"_target_": "custom.postprocessing.PostProcessing", "order": ["mask"]}, "trial": None},
    **{"thresholds": {"a": {"value": 0.5, "source": "x"}}, "healthy_quantiles": {"levels": [0.5], "scores": [0.1]}},
    **{"weights_sha256": "0" * 64, "reconstruction": {"test_timesteps": 500}},
}
_MODEL = {
    **{
        "format": 1,
        "bundle": "a",
        "method": "a",
        "contrast": "t1",
        "dataset": "demo",
        "fold": 0,
        "seed": 1,
        "parts": _PARTS,
    },
    **{"training": {}, "weights": {"file": "a", "sha256": "0" * 64}, "calibration": _CALIBRATION},
}
_CACHE = {
    "version": CACHE_VERSION,
    "files": {"image splits/IXI_test.csv": {"state": [1, 1, 1, 1, 1, 1], "report": vars(FileReport(()))}},
}
_CONFIG = {
    "imports": ["$import torch"],
    "lr": 0.1,
    "a": {"_target_": "torch.nn.L1Loss", "_mode_": "callable", "x": "$[len(@b) for i in range(3)]"},
    "b": ["@lr", "%custom/configs/noise.json::simplex", "$torch.device('cpu')", "$lambda x: x['loss'].item()"],
}

_MATRIX = {
    **{
        "name": "a",
        "seed": 1,
        "folds": [0],
        "train": {"lr": 0.1},
        "comparisons": [["m l1", "m l1"]],
        "t_sweep": {"m": [250]},
    },
    "contrasts": {"t1": {"dataset_name": "demo", "test_sets": ["demo_ms"]}},
    "methods": {"m": {"bundle": "ae_baseline", "scores": ["l1"]}},
}


def _json(*values: object) -> tuple[bytes, ...]:
    return tuple(json.dumps(value).encode() for value in values)


_EXAMPLES = _json(
    with_digest(_MODEL), with_digest(_CALIBRATION), _CACHE, _MATRIX, _CONFIG, {"ixi": {"files": {"IXI_test.csv": "0"}}}
)
TARGETS = (
    Target(
        "csv",
        _csv,
        (b"img_name,age,label,img_path,mask_path,seg_path\n" + _ROW * 2, b""),
        (
            b'"',
            b",",
            b";",
            b"\r",
            b"\n",
            b"\0",
            b"\xef\xbb\xbf",
            b"\xff",
            b"../",
            b"/",
            b"\\",
            b"C:",
            b"nan",
            b"1e999",
            b"_t2",
            _ROW,
        ),
    ),
    Target(
        "nifti",
        _nifti,
        _nifti_examples(),
        (
            *(struct.pack("<f", v) for v in (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e38, 1e-40)),
            *(struct.pack("<h", v) for v in (0, -1, 1, 3, 4, 7, 32, 64, 128, 512, 1024, 1280, 1536, 2048, 2304, 32767)),
            *(b"n+1\0", b"n+2\0", b"ni1\0", b"\x1f\x8b\x08", b"\0" * 64, b"\xff" * 8),
        ),
    ),
    *(Target(name, _sidecar(file, call), _EXAMPLES, _JSON_WORDS) for name, file, call in _SIDECARS),
    Target(
        "manifest",
        _manifest,
        _json({"version": 1, "files": {"configs/a.json": {"sha256": "0" * 64, "bytes": 3}}}),
        (*_JSON_WORDS, b"../", b"/", b"C:", b"\\\\", b"..", b"\\u0000"),
    ),
    Target(
        "weights",
        _weights,
        (_safetensors_example(),),
        (*_JSON_WORDS, b"\x80\x02", b"cos\nsystem\n", b"PK\x03\x04", b"\xff" * 8),
    ),
)
