# SPDX-License-Identifier: Apache-2.0
"""The texts of a release: ``metadata.json``, ``docs/README.md`` and ``docs/data_license.txt``."""

import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from typing import Any

from ..cohorts.datasets import get_dataset
from ..core.errors import ConfigError
from ..core.imports import foreign_imports
from ..prediction.calibration import Calibration
from ..runs.model_folder import ModelFolder

_NAMED_APART = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}

_README = """# {name}

{description}

Research use only; not a medical device. Version {version}, trained on healthy {contrast} scans
(`{method}`, data set {dataset}, fold {fold}), scored by `{score}`.

## Use

From any folder, with the packages in `configs/metadata.json` installed:

```
python -m monai.bundle run inference --config_file {name}/configs/inference.json \\
    --bundle_root {name} --input SCAN|FOLDER|list.txt --output_dir OUT
```

`run evaluating --config_file {name}/configs/evaluate.json` measures the model on labelled scans in the layout of the source
package, `run training --config_file {name}/configs/train.json` goes on training from its weights; both take
`--bundle_root {name} --dataset_dir DATA --output_dir OUT`.

Scans are brain-extracted {contrast} images (NIfTI, NRRD, MHA or a DICOM folder) of any orientation and spacing; maps and
masks come back on the scan's own grid. `--sensitivity` takes one of

{thresholds}

or a false-positive rate inside healthy brains between {lowest:g} and {highest:g}; `--threshold` takes a score. In MONAI Label both stand in the
options of the client (`threshold` 0 means: use `sensitivity`).

## Files

* `models/model.safetensors`: the weights, sha256 `{file_sha256}`
* `models/model.pt`: the same weights as a flat state dict, read with `weights_only=True`. The inferer compares the loaded
  weights with the digest `{weights_sha256}` and refuses others.
* `models/model.json`: what the model is (network, noise, preparation ...) and its thresholds; all configurations read it.
* `custom/`: the modules of the Python package `custom` that the configurations need. Several releases can stand in one
  MONAI Label server if their modules of one name are equal, which is checked.
* `manifest.json`: sha256 of every file as it was released. Python writes `__pycache__` folders beside what it runs; set
  `PYTHONDONTWRITEBYTECODE=1` to keep the folder as it was.

## Export

`python -m monai.bundle ckpt_export --use_trace True` writes TorchScript of networks that take an image alone (AE, VAE, DAE,
atlas, thresholding); without `--use_trace` the scripting compiler stops at Python that it does not know. For
`DiffusionModelUNet` neither works: scripting stops in its attention block, and the tracing commands (`onnx_export`,
`trt_export` too) feed one input where it needs `timesteps` as well; for the same reason `verify_net_in_out` needs
`extra_forward_args={{"timesteps": torch.tensor([1])}}`, which its command line cannot say. The map is moreover made by the
inferer (noise, reconstruction, score) and not by the network alone.
"""


def release_metadata(
    metadata: Mapping[str, Any],
    name: str,
    model: ModelFolder,
    calibration: Calibration,
    modules: set[str],
    weights_sha256: str,
) -> dict[str, Any]:
    """Return the bundle's metadata with what is special to this release.

    Args:
        metadata: of the source bundle.
        name: of the release.
        model: that is released.
        calibration: of the model.
        modules: of this package that the release carries; their other packages are stated with the versions used here.
        weights_sha256: :func:`~custom.release.checked.state_sha256` of the weights.
    """
    content = model.calibration or {}
    return {
        **metadata,
        "required_packages_version": {**_versions(modules), **metadata.get("required_packages_version", {})},
        "eval_metrics": dict(content.get("metrics") or metadata.get("eval_metrics") or {}),
        "supported_apps": dict(metadata.get("supported_apps") or {}),
        "release": {
            "name": name,
            **model.identity,
            "score": calibration.score,
            "thresholds": {key: one.value for key, one in calibration.thresholds.items()},
            "model_sha256": model.weights_sha256,
            "weights_sha256": weights_sha256,
        },
    }


def release_readme(metadata: Mapping[str, Any], model: ModelFolder, calibration: Calibration) -> str:
    """Return ``docs/README.md``."""
    release = metadata["release"]
    lowest, highest = calibration.rates
    thresholds = {
        name: calibration.threshold(name) for name in calibration.names
    }  # with what is to be said against them
    return _README.format(
        name=release["name"],
        description=metadata["description"],
        version=metadata["version"],
        contrast=model.contrast.upper(),
        method=model.method,
        dataset=model.dataset,
        fold=model.fold,
        score=calibration.score,
        thresholds="\n".join(f"* `{key}`: {t.value:.4g} ({t.source})" for key, t in thresholds.items()),
        lowest=lowest,
        highest=highest,
        file_sha256=model.weights_sha256,
        weights_sha256=release["weights_sha256"],
    )


def data_licence(model: ModelFolder) -> str:
    """Return ``docs/data_license.txt``: what is known of the scans that the model was trained on."""
    try:
        data = get_dataset(model.dataset, model.folder)
    except ConfigError:
        return f"The model was trained on the data set {model.dataset!r}, whose terms are not known to this package.\n"
    return (
        f"The model was trained on {data.title} ({data.licence}).\n{data.citation}\n\nNo scan of it is part of this release. "
        "Whoever uses the data set itself is bound by its terms.\n"
    )


def _versions(modules: set[str]) -> dict[str, str]:
    distributions = packages_distributions()
    names = sorted(foreign_imports(modules) - set(sys.stdlib_module_names) - set(_NAMED_APART))
    known = (name for name in names if name in distributions)
    packages = {name if name in distributions[name] else distributions[name][0] for name in known}
    return {package: version(package) for package in sorted(packages)}
