# SPDX-License-Identifier: Apache-2.0
"""Make a self-contained release of a bundle and a trained model, as folder and zip.

::

    <name>/configs/inference.json  evaluate.json  train.json  metadata.json  logging.conf
           models/model.json  model.safetensors  model.pt  (+ .sha256)
           custom/ (the modules that the configurations need)
           docs/README.md  docs/data_license.txt  LICENSE  manifest.json

Folder and zip appear whole or not at all; the same command again completes what a killed one left. Two freezes of one model give the same zip, byte for byte: its entries are sorted
and carry a fixed time. Checked against the source bundle: the maps are bit-identical.
"""

import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.building import building
from ..core.digests import file_sha256
from ..core.errors import ConfigError
from ..core.files import atomic_path, atomic_write_json, atomic_write_text, read_json
from ..core.imports import module_file, modules_of
from ..core.resources import bundle_folder
from ..models.weights import load_weights
from ..prediction.calibration import Calibration
from ..runs.model_folder import FILE_NAME as MODEL_JSON
from ..runs.model_folder import ModelFolder
from .checked import network_sha256
from .configurations import release_configs
from .documents import data_licence, release_metadata, release_readme
from .manifest import MANIFEST, read_manifest, verify_manifest, write_manifest

_ROOT = Path(__file__).resolve().parents[2]
_TYPES = ("detection", "classification", "deepgrow", "deepedit")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_EPOCH = (1980, 1, 1, 0, 0, 0)

TERMS = ("LICENSE*", "NOTICE*", "card.md")


def freeze_bundle(
    model_dir: str | Path,
    out: str | Path,
    bundle: str | Path | None = None,
    name: str | None = None,
    archive: bool = False,
) -> Path:
    """Write the release ``out/<name>`` (and ``out/<name>.zip``) and return its folder.

    Args:
        model_dir: folder of a trained and calibrated model.
        out: where the release goes; the same release there is taken as it is, another one is not written over.
        bundle: folder of the source bundle; None takes the model's own.
        name: name of the release; None is ``<bundle>_<contrast>_fold<fold>``.
        archive: write the zip too.

    Raises:
        ConfigError: no such model or bundle, a model without calibration, a name that MONAI Label would misread, an
            existing release.
    """
    out, model = Path(out), ModelFolder.read(model_dir)
    calibration = Calibration.of(model)
    source = Path(bundle) if bundle is not None else bundle_folder(model.bundle)
    name = name or f"{source.resolve().name}_{model.contrast}_fold{model.fold}"
    _require_name(name)
    configs = release_configs(source, model, name)
    with building(out / name) as place:
        folder = place / name
        _fill(folder, model, calibration, source, configs)
        write_manifest(folder)
        if not (out / name).exists():
            folder.rename(out / name)
        elif not _same_release(folder, out / name):
            raise ConfigError(
                f"{out / name} exists already, holds another release, and is not written over; remove it or choose another "
                "--name."
            )
    if archive:
        write_zip(out / name, out / f"{name}.zip")
    return out / name


def threshold_notes(model_dir: str | Path) -> list[str]:
    """Return a sentence for each threshold of a calibrated model that marks more than a fifth of healthy brains."""
    calibration = Calibration.of(ModelFolder.read(model_dir))
    doubts = {name: calibration.doubt(one.value) for name, one in calibration.thresholds.items()}
    menu = {
        True: "the menu of MONAI Label offers it because no other is better",
        False: "the menu of MONAI Label leaves it out",
    }
    return [
        f"the threshold {name} is {doubt}; predictions at it say so, and {menu[name in calibration.offered]}"
        for name, doubt in doubts.items()
        if doubt
    ]


def _same_release(one: Path, other: Path) -> bool:
    """Tell whether ``other`` is whole and has the files of ``one``, as after a command that is repeated."""
    try:
        verify_manifest(other)
        return read_manifest(one / MANIFEST) == read_manifest(other / MANIFEST)
    except ConfigError:
        return False


def write_zip(folder: str | Path, path: str | Path) -> str:
    """Pack the files of the folder's manifest below the top folder ``<name>/``; return the sha256 of the zip."""
    folder, path = Path(folder), Path(path)
    names = [*read_manifest(folder / MANIFEST), MANIFEST]
    with building(path) as place:
        with zipfile.ZipFile(place / path.name, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in sorted(names):
                entry = zipfile.ZipInfo(f"{folder.name}/{name}", _EPOCH)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
                packed.writestr(entry, (folder / name).read_bytes())
        with atomic_path(path) as temporary:
            os.replace(place / path.name, temporary)
    return file_sha256(path)


def _fill(
    folder: Path, model: ModelFolder, calibration: Calibration, source: Path, configs: Mapping[str, Mapping[str, Any]]
) -> None:
    models, target = folder / "models", folder / "configs"
    for path in (models, target, folder / "docs"):
        path.mkdir(parents=True)
    network = load_weights(model.network(), model.weights, model.weights_sha256)
    for path in (model.weights, model.folder / MODEL_JSON):
        shutil.copyfile(path, models / path.name)
    for pattern in TERMS:  # those of the weights, which may be others than those of the code
        for path in sorted(model.folder.glob(pattern)):
            shutil.copyfile(path, models / path.name)
    torch.save(dict(network.state_dict()), models / "model.pt")
    for path in (models / model.weights.name, models / "model.pt"):
        atomic_write_text(path.with_name(f"{path.name}.sha256"), f"{file_sha256(path)}  {path.name}\n")
    for kind, config in configs.items():
        atomic_write_json(target / f"{kind}.json", config)
    modules = modules_of(configs, model.content)
    copy_modules(modules, folder / "custom")
    metadata = read_json(source / "configs" / "metadata.json", "give the folder of a bundle.")
    metadata = release_metadata(metadata, folder.name, model, calibration, modules, network_sha256(network))
    atomic_write_json(target / "metadata.json", metadata)
    shutil.copyfile(source / "configs" / "logging.conf", target / "logging.conf")
    atomic_write_text(folder / "docs" / "README.md", release_readme(metadata, model, calibration))
    atomic_write_text(folder / "docs" / "data_license.txt", data_licence(model))
    licence = next((path for path in (source / "LICENSE", _ROOT / "LICENSE") if path.is_file()), None)
    if licence is None:
        raise ConfigError(f"neither {source} nor {_ROOT} has a LICENSE; a release must state its terms.")
    shutil.copyfile(licence, folder / "LICENSE")
    load_weights(model.network(), models / "model.pt")  # whole, and of this network


def copy_modules(modules: Iterable[str], target: str | Path) -> None:
    """Copy modules of this package, and the files that lie in the folders of copied packages and are no modules.

    Args:
        modules: dotted names.
        target: becomes the package ``custom``.
    """
    package = _ROOT / "custom"
    for module in modules:
        path = module_file(module)
        if path is None:
            continue
        files = [path]
        if path.name == "__init__.py" and path.parent != package:
            files += [other for other in path.parent.rglob("*") if _is_resource(other, path.parent)]
        for file in files:
            copy = Path(target) / file.relative_to(package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _is_resource(path: Path, package: Path) -> bool:
    inner = path.relative_to(package).parts
    hidden = any(part.startswith((".", "__pycache__")) for part in inner)
    return path.is_file() and path.suffix not in (".py", ".pyc") and not hidden


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
