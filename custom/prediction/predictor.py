# SPDX-License-Identifier: Apache-2.0
"""Anomaly maps of scans from Python.

::

    from custom.prediction.predictor import Predictor
    result = Predictor.load("output/ddpm_ssim_ens/ixi_t1_fold0").predict("scan.nii.gz")
    result.save_report("out")

A model folder says which bundle it belongs to; the ``inference.json`` of that bundle *of this package* is read, the file
that ``python -m monai.bundle run inference`` reads too, so both give the same map. Configuration that lies beside a model
is never read.

Whatever the caller gives (paths, names, numbers) reaches MONAI's parser as objects: a file called ``$open('x')`` is a file.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from numpy.typing import ArrayLike

from ..core.errors import ConfigError, did_you_mean
from ..core.files import read_json
from ..core.foreseen import find_foreseen
from ..core.resources import bundle_folder, rooted
from ..core.seeding import kept_generators
from ..runs.knobs import check_knobs
from ..runs.model_folder import ModelFolder
from ..runs.model_names import model_folder
from ..volumes.memory import scan_in_memory, stored_in_memory
from .calibration import Calibration
from .case_result import CaseResult
from .find import one_scan
from .picture_result import PictureResult

_CONFIG = Path("configs") / "inference.json"
_OWN = {"about", "bundle", "bundle_root", "model", "calibration", "network_def", "network", "initialize", "run"}


class Predictor:
    """A trained and calibrated model, ready for scans.

    Args:
        parser: parsed ``inference.json``, see :meth:`load`.

    >>> predictor = Predictor.load("restoration_t1")
    >>> predictor, predictor.grid_shape
    (<Predictor restoration_t1: restoration, T1>, (96, 96, 50))
    """

    def __init__(self, parser: ConfigParser) -> None:
        self._parser = parser
        self.calibration: Calibration = _content(parser, "calibration")
        self.network: torch.nn.Module = _content(parser, "network")
        self.inferer = _content(parser, "inferer")
        self.preprocessing = _content(parser, "preprocessing")
        self.postprocessing = _content(parser, "postprocessing")
        self.device = torch.device(_content(parser, "device"))
        self.sensitivity, self.threshold = _content(parser, "sensitivity"), _content(parser, "threshold")
        self.model: ModelFolder = _content(parser, "model")
        self.grid_shape: tuple[int, int, int] = self.model.build("preparation").shape

    def __repr__(self) -> str:
        return f"<Predictor {self.model.folder.resolve().name}: {self.model.method}, {self.model.contrast.upper()}>"

    @classmethod
    def load(cls, model_dir: str | Path, config: str | Path | None = None, **knobs: Any) -> "Predictor":
        """Load a trained and calibrated model.

        Args:
            model_dir: folder of a run or of a release, or the name of a model that ``uad models`` lists.
            config: an ``inference.json`` of one's own, which is code; None takes that of the model's bundle.
            **knobs: settings at the top of that file, for example ``sensitivity``, ``threshold`` or ``device``.

        Raises:
            ConfigError: no such model, bundle or setting; a model without calibration.
        """
        with kept_generators():  # a network that is built draws weights, although its own are loaded
            return cls(inference_parser(model_dir, config, **knobs))

    def predict(
        self,
        scan: Any,
        mask: Any = None,
        affine: ArrayLike | None = None,
        spacing_mm: Sequence[float] | None = None,
        case_id: str = "scan",
    ) -> CaseResult:
        """Return maps, mask, pseudo-healthy image and findings of one scan.

        Args:
            scan: path of a NIfTI, NRRD or MetaImage file or of a folder with one DICOM series; or a nibabel image; or an
                array or tensor ``[X, Y, Z]`` with ``affine`` or ``spacing_mm``.
            mask: brain mask on the scan's grid: a path, or for a scan in memory also an image or array. None: of a path
                ``<scan>_mask.nii.gz`` beside it; else all that is not background.
            affine: of an array, ``[4, 4]``, voxels to world (RAS, mm).
            spacing_mm: of an array whose axes point to the patient's right, front and top: its voxel size.
            case_id: name of a scan that does not come from a file.

        Raises:
            ConfigError: several scans, or an array without its place.
            DataError: the scan cannot be used.
        """
        if isinstance(scan, (str, PathLike)):
            if affine is not None or spacing_mm is not None:
                raise ConfigError("affine and spacing_mm are for arrays; a file says itself where its voxels lie.")
            if mask is not None and not isinstance(mask, (str, PathLike)):
                raise ConfigError(f"the mask of a scan that is a file must be a file, got {type(mask).__name__}.")
            source = one_scan(Path(scan), None if mask is None else Path(mask))
            data: Any = source.as_data()
        else:
            data = {"image": scan_in_memory(scan, case_id, affine, spacing_mm), "case_id": case_id}
            on_file = mask is None or isinstance(mask, (str, PathLike))
            place = None if hasattr(mask, "affine") else data["image"].affine
            data["mask"] = mask if on_file else stored_in_memory(mask, case_id, place)
        try:
            data = self.preprocessing(data)
            inputs: Any = data["image"]
            with torch.inference_mode():
                data["pred"] = self.inferer(inputs[None].to(self.device), self.network)[0]
            return CaseResult.from_data(self.postprocessing(data), self.calibration)
        except RuntimeError as error:  # MONAI wraps the errors of transforms
            raise find_foreseen(error) or error from None

    def predict_picture(self, picture: str | Path, mask: str | Path | None = None) -> PictureResult:
        """Return map and boxes of an axial slice in a PNG, JPEG or TIFF file, in its pixels.

        Args:
            picture: of any size; see :func:`custom.prediction.picture_predictor.predict_picture`.
            mask: picture of the same size that is not black within the brain; None: the brain is estimated.

        Raises:
            DataError: the picture cannot be used.
        """
        from .picture_predictor import predict_picture

        return predict_picture(self, picture, mask)


def predict_batch(
    model_dir: str | Path, given: str | Path, output_dir: str | Path, config: str | Path | None = None, **knobs: Any
) -> list[dict[str, Any]]:
    """Predict a scan, a folder or a list of scans, write all results and return a record per scan.

    ``given`` see :func:`custom.prediction.find.find_scans`, the rest :meth:`Predictor.load`; finished results in
    ``output_dir`` are kept.
    """
    parser = inference_parser(model_dir, config, input=str(given), output_dir=str(output_dir), **knobs)
    with kept_generators():
        evaluator = _content(parser, "evaluator")
        if len(evaluator.data_loader):  # of an empty one MONAI warns that distributed training may hang
            evaluator.run()
    records: list[dict[str, Any]] = _content(parser, "results").finish(strict=False)
    return records


def inference_parser(model_dir: str | Path, config: str | Path | None = None, **knobs: Any) -> ConfigParser:
    """Return the parsed ``inference.json`` of a model with some settings changed.

    Raises:
        ConfigError: no such model, bundle or setting.
    """
    folder = model_folder(model_dir)
    path = Path(config) if config is not None else bundle_folder(ModelFolder.read(folder).bundle) / _CONFIG
    content = rooted(read_json(path, "give the inference.json of a bundle."))
    for name in knobs:
        if name not in content or name in _OWN:
            raise ConfigError(
                f"{name}: no setting of {path.name}; {did_you_mean(name, content, '--{}', 0.6)}docs/knobs.md lists all. What the model was trained "
                "with (network, noise, preparation ...) is read from its model.json and cannot be changed."
            )
    check_knobs(knobs)
    given = {**knobs, "model_dir": str(folder)}
    parser = ConfigParser({**content, **{name: f"$given[{name!r}]" for name in given}}, globals={"given": given})
    parser.parse()
    return parser


def _content(parser: ConfigParser, key: str) -> Any:
    try:
        return parser.get_parsed_content(key, instantiate=True)
    except (RuntimeError, ValueError) as error:
        raise find_foreseen(error) or error from None
