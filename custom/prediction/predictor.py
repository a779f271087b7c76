# SPDX-License-Identifier: Apache-2.0
"""Anomaly maps for scans of anybody, from Python or by ``scripts/predict.py``.

::

    from custom.predict import Predictor
    result = Predictor.load("output/ddpm_ssim_ens/ixi_t1_fold0").predict("scan.nii.gz")
    result.save_report("out")

Both doors read the ``inference.json`` of the model's bundle, the file that ``python -m monai.bundle run inference`` and
MONAI Label read, so all of them give the same map.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from ..core.errors import ConfigError
from ..core.files import read_json
from ..runs.knobs import check_knobs, closest
from ..runs.settings import trained_settings
from ..runs.start import find_foreseen
from .calibration import FILE_NAME, Calibration
from .case_result import CaseResult
from .find import one_scan
from .results import summary_table

__all__ = ["Predictor", "predict_batch", "summary_table"]
_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = Path("configs") / "inference.json"
_VARIANTS = {"vae": "ae_baseline", "pddpm": "ddpm_ssim_ens"}  # methods that are settings of another one's bundle
Knobs = Mapping[str, Any]


class Predictor:
    """A trained model, ready for scans.

    Args:
        parser: parsed ``inference.json``, see :meth:`load`.
    """

    def __init__(self, parser: ConfigParser) -> None:
        self._parser = parser
        self.calibration: Calibration = _content(parser, "calibration")
        self.network: torch.nn.Module = _content(parser, "network")
        self.inferer = _content(parser, "inferer")
        self.preprocessing = _content(parser, "preprocessing")
        self.postprocessing = _content(parser, "postprocessing")
        self.device = torch.device(_content(parser, "device"))

    @classmethod
    def load(cls, run_dir: str | Path, config: str | Path | None = None, **knobs: Any) -> "Predictor":
        """Load a trained and evaluated model.

        Args:
            run_dir: folder with ``model.safetensors``, ``settings.json`` and ``calibration.json``.
            config: an ``inference.json``; None finds the one of the model's bundle.
            **knobs: top-level settings of that file, for example ``sensitivity``, ``threshold`` or ``device``.
        """
        return cls(inference_parser(run_dir, config, **knobs))

    def predict(self, scan: str | Path, mask: str | Path | None = None) -> CaseResult:
        """Return maps, mask, pseudo-healthy image and findings of one scan.

        Args:
            scan: NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.
            mask: brain mask on the scan's grid; None: ``<scan>_mask.nii.gz`` beside it, else all that is not zero.

        Raises:
            DataError: the scan cannot be used.
        """
        source = one_scan(scan, mask)
        data = {"image": str(source.path), "mask": str(source.mask) if source.mask else None, "case_id": source.case_id}
        try:
            data = self.preprocessing(data)
            inputs: Any = data["image"]
            with torch.inference_mode():
                data["pred"] = self.inferer(inputs[None].to(self.device), self.network)[0]
            return CaseResult.from_data(self.postprocessing(data), self.calibration)
        except RuntimeError as error:  # MONAI wraps the errors of transforms
            raise find_foreseen(error) or error from None


def predict_batch(
    run_dir: str | Path, given: str | Path, results_dir: str | Path, config: str | Path | None = None, **knobs: Any
) -> list[dict[str, Any]]:
    """Predict a scan, a folder or a list of scans, write all results and return a record per scan.

    Args:
        run_dir: trained and evaluated model.
        given: see :func:`custom.prediction.find.find_scans`.
        results_dir: where the results go; finished ones there are kept.
        config: see :meth:`Predictor.load`.
        **knobs: settings of ``inference.json``.
    """
    parser = inference_parser(run_dir, config, input=str(given), results_dir=str(results_dir), **knobs)
    _content(parser, "initialize")
    _content(parser, "evaluator").run()
    records: list[dict[str, Any]] = _content(parser, "results").finish(strict=False)
    return records


def inference_parser(run_dir: str | Path, config: str | Path | None = None, **knobs: Any) -> ConfigParser:
    """Return the parsed ``inference.json`` of a model with some top-level settings changed.

    The score is the one that the model was calibrated with, unless ``score`` or ``scoring`` is given.

    Raises:
        ConfigError: no such model, bundle or setting.
    """
    path = Path(config) if config is not None else _bundle_config(Path(run_dir))
    content = json.loads(path.read_text(encoding="utf-8"))
    unknown = sorted(set(knobs) - set(content))
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: no setting of {path.name}; {closest(unknown[0], content)}docs/knobs.md lists all."
        )
    check_knobs(knobs)
    calibration = Path(run_dir) / FILE_NAME
    if not {"score", "scoring"} & set(knobs) and calibration.is_file():
        score = read_json(calibration, "run the evaluation of this model again.").get("score", content["score"])
        imported, _, _ = str(content.get("scoring", "")).rpartition("::")
        if imported.startswith("%"):
            knobs = {**knobs, "score": score, "scoring": f"{imported}::{score}"}
        elif score in content.get("scores", {}):
            knobs = {**knobs, "score": score}
    content.update(knobs, output_dir=str(run_dir))
    parser = ConfigParser(_rooted(content, _ROOT))
    parser.parse()
    return parser


def source_bundles(method: str) -> list[Path]:
    """Return the folders in which the bundle of a method may lie."""
    return [_ROOT / "bundles" / name for name in (_VARIANTS.get(method, method), f"{method}_baseline")]


def _bundle_config(run_dir: Path) -> Path:
    method = str(trained_settings(run_dir)["method"])
    candidates = [folder / _CONFIG for folder in (run_dir.parent, _ROOT, *source_bundles(method))]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise ConfigError(f"no inference.json for the method {method} (tried {', '.join(map(str, candidates))}).")
    return found


def _rooted(value: Any, root: Path) -> Any:
    """Make the files of ``%`` macros absolute: the parser looks for them from the current folder."""
    if isinstance(value, dict):
        return {key: _rooted(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [_rooted(item, root) for item in value]
    if isinstance(value, str) and value.startswith("%") and not value.startswith("%/"):
        return f"%{root}/{value[1:]}"
    return value


def _content(parser: ConfigParser, key: str) -> Any:
    try:
        return parser.get_parsed_content(key, instantiate=True)
    except (RuntimeError, ValueError) as error:
        raise find_foreseen(error) or error from None
