# SPDX-License-Identifier: Apache-2.0
"""The texts of a release: ``metadata.json`` with what was frozen, and ``docs/README.md``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_README = """# {name}

{description}

Research use only; not a medical device. Version {version}, trained on healthy {contrast} scans
(`{method}`, data set {dataset}, fold {fold}), scored by `{score}`.

## Use

From any folder, with the packages in `configs/metadata.json` installed:

```
python -m monai.bundle run inference --config_file {name}/configs/inference.json \\
    --bundle_root {name} --input SCAN|FOLDER|list.txt --results_dir OUT
```

Scans are brain-extracted {contrast} images (NIfTI, NRRD, MHA or a DICOM folder) of any orientation and spacing; maps and
masks come back on the scan's own grid. `--sensitivity` takes one of

{thresholds}

or a false-positive rate inside healthy brains such as 0.02; `--threshold` takes a score. In MONAI Label both stand in the
options of the client (`threshold` 0 means: use `sensitivity`).

## Files

* `models/model.safetensors`: the weights, sha256 `{file_sha256}`
* `models/model.pt`: the same weights as a flat state dict, read with `weights_only=True`. The inferer compares the loaded
  weights with the digest `{weights_sha256}` and refuses others.
* `models/calibration.json`, `models/settings.json`: thresholds, healthy quantiles, training settings; `inference.json`
  holds them as literals and does not read these files.
* `custom/`: the Python package that the configuration names.
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
    metadata: Mapping[str, Any], name: str, frozen: Mapping[str, Any], file_sha256: str
) -> dict[str, Any]:
    """Return the bundle's metadata with what was frozen into this release.

    Args:
        metadata: of the source bundle.
        name: of the release.
        frozen: its ``inference.json``.
        file_sha256: digest of ``model.safetensors``.
    """
    release = {
        "name": name,
        "trained": dict(frozen["trained"]),
        "score": frozen["score"],
        "thresholds": frozen["calibration"]["thresholds"],
        "model_sha256": file_sha256,
        "weights_sha256": frozen["inferer"]["weights_sha256"],
    }
    apps = dict(metadata.get("supported_apps") or {})
    return {**metadata, "supported_apps": apps, "release": release}


def release_readme(metadata: Mapping[str, Any]) -> str:
    """Return ``docs/README.md`` from the release's metadata."""
    release = metadata["release"]
    trained = release["trained"]
    lines = []
    for key, value in release["thresholds"].items():
        pairs = {f"{key}/{n}": v for n, v in value.items()} if isinstance(value, Mapping) else {key: value}
        lines += [f"* `{name}` (score {number:.4g})" for name, number in pairs.items()]
    return _README.format(
        name=release["name"],
        description=metadata["description"],
        version=metadata["version"],
        contrast=str(trained.get("contrast", "?")).upper(),
        method=trained.get("method", "?"),
        dataset=trained.get("dataset_name", "?"),
        fold=trained.get("fold", "?"),
        score=release["score"],
        thresholds="\n".join(lines),
        file_sha256=release["model_sha256"],
        weights_sha256=release["weights_sha256"],
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
