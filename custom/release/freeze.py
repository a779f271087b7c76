# SPDX-License-Identifier: Apache-2.0
"""Make a self-contained release of a bundle and a trained model, as folder and zip.

::

    <name>/configs/inference.json  metadata.json  logging.conf
           models/model.safetensors  model.pt  (+ .sha256)  calibration.json  settings.json
           custom/  docs/README.md  LICENSE  manifest.json

The folder appears whole or not at all. Two freezes of one model give the same zip, byte for byte: its entries are sorted
and carry a fixed time. Checked against the source bundle: the maps are bit-identical.
"""

import json
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import torch

from ..core.digests import file_sha256
from ..core.errors import ConfigError
from ..core.files import atomic_path, atomic_write_json, atomic_write_text
from ..models.weights import load_weights, read_state_dict
from ..prediction.calibration import FILE_NAME as CALIBRATION
from ..prediction.predictor import source_bundles
from ..runs.settings import FILE_NAME as SETTINGS
from ..runs.settings import trained_settings
from .checked import state_sha256
from .documents import read_json, release_metadata, release_readme
from .frozen_config import frozen_config
from .manifest import MANIFEST, write_manifest

_ROOT = Path(__file__).resolve().parents[2]
_TYPES = ("detection", "classification", "deepgrow", "deepedit")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def freeze_bundle(
    run_dir: str | Path,
    out: str | Path,
    bundle: str | Path | None = None,
    name: str | None = None,
    archive: bool = False,
) -> Path:
    """Write the release ``out/<name>`` (and ``out/<name>.zip``) and return its folder.

    Args:
        run_dir: folder with ``model.safetensors``, ``settings.json`` and ``calibration.json``.
        out: where the release goes; ``<name>`` must not be there yet.
        bundle: folder of the source bundle; None takes the one of the model's method.
        name: name of the release; None is ``<bundle>_<contrast>_fold<fold>``.
        archive: write the zip too.

    Raises:
        ConfigError: no such model or bundle, a name that MONAI Label would misread, an existing release.
    """
    run_dir, out = Path(run_dir), Path(out)
    settings = trained_settings(run_dir)
    source = Path(bundle) if bundle is not None else _bundle_of(str(settings["method"]))
    if not (source / "configs" / "inference.json").is_file():
        raise ConfigError(f"{source} has no configs/inference.json, so it is no bundle that scans can be given to.")
    name = name or f"{source.resolve().name}_{settings.get('contrast', 'any')}_fold{settings.get('fold', 0)}"
    _require_name(name)
    if (out / name).exists():
        raise ConfigError(f"{out / name} exists already and is not written over; remove it or choose another --name.")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".freezing-") as temporary:
        folder = Path(temporary) / name
        _fill(folder, run_dir, source)
        write_manifest(folder)
        folder.rename(out / name)
    if archive:
        write_zip(out / name, out / f"{name}.zip")
    return out / name


def write_zip(folder: str | Path, path: str | Path) -> str:
    """Pack the files of the folder's manifest below the top folder ``<name>/``; return the sha256 of the zip."""
    folder = Path(folder)
    names = [*read_json(folder / MANIFEST)["files"], MANIFEST]
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(names):
            entry = zipfile.ZipInfo(f"{folder.name}/{name}", _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            packed.writestr(entry, (folder / name).read_bytes())
    return file_sha256(path)


def _fill(folder: Path, run_dir: Path, source: Path) -> None:
    models, configs = folder / "models", folder / "configs"
    models.mkdir(parents=True)
    configs.mkdir()
    weights = run_dir / "model.safetensors"
    state = read_state_dict(weights)
    digests = file_sha256(weights), state_sha256(state)
    config = frozen_config(run_dir, source, folder.name, *digests)
    for name in (weights.name, SETTINGS, CALIBRATION):
        shutil.copyfile(run_dir / name, models / name)
    torch.save(state, models / "model.pt")
    for path in (models / weights.name, models / "model.pt"):
        atomic_write_text(path.with_name(f"{path.name}.sha256"), f"{file_sha256(path)}  {path.name}\n")
    metadata = release_metadata(read_json(source / "configs" / "metadata.json"), folder.name, config, digests[0])
    atomic_write_json(configs / "inference.json", config)
    atomic_write_json(configs / "metadata.json", metadata)
    shutil.copyfile(source / "configs" / "logging.conf", configs / "logging.conf")
    shutil.copytree(_ROOT / "custom", folder / "custom", ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    (folder / "docs").mkdir()
    atomic_write_text(folder / "docs" / "README.md", release_readme(metadata))
    licence = next((path for path in (source / "LICENSE", _ROOT / "LICENSE") if path.is_file()), None)
    if licence is None:
        raise ConfigError(f"neither {source} nor {_ROOT} has a LICENSE; a release must state its terms.")
    shutil.copyfile(licence, folder / "LICENSE")
    _require_fitting_weights(folder)


def _require_fitting_weights(folder: Path) -> None:
    """Both files of weights must fill the frozen network completely."""
    from monai.bundle import ConfigParser

    parser = ConfigParser(json.loads((folder / "configs" / "inference.json").read_text(encoding="utf-8")))
    network = parser.get_parsed_content("network_def")
    for name in ("model.safetensors", "model.pt"):
        load_weights(network, folder / "models" / name)


def _bundle_of(method: str) -> Path:
    found = next((path for path in source_bundles(method) if path.is_dir()), None)
    if found is None:
        raise ConfigError(f"no bundle for the method {method} in {_ROOT / 'bundles'}; give --bundle.")
    return found


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the name {name!r} must be a word of letters, digits and _; it becomes a folder and an address."
        )
    taken = next((word for word in _TYPES if word in name.lower()), None)
    if taken:
        raise ConfigError(
            f"the name {name!r} contains '{taken}': MONAI Label tells the kind of a model by its folder's name and would "
            "not serve it as segmentation; choose another --name."
        )
