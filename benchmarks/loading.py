# SPDX-License-Identifier: Apache-2.0
"""Preparing a 1 mm scan, and an epoch of one slice per scan, against MONAI's stock chain and TorchIO without a cache."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import monai.transforms as mt
import nibabel as nib
import numpy as np
import torch
from monai.data import CacheDataset, Dataset
from monai.data import DataLoader as MonaiDataLoader
from torch.utils.data import ConcatDataset, DataLoader

from benchmarks.harness import Candidate, Subject, peer
from benchmarks.phantoms import write_scans
from custom.cohorts.cases import build_cases
from custom.cohorts.dataset import SliceDataset
from custom.preparation.prepare import preparation, prepare_case
from custom.preparation.smoothing import curvature_flow
from custom.training.sampler import EpochSampler
from custom.volumes.grid import halve_bspline
from custom.volumes.records import ScanRecord

BATCH = 16
REPEATS = 8  # of the cached scans: an epoch of one batch would time how a loader starts
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # live as long as the process


def record(number: int, scan: dict[str, str]) -> ScanRecord:
    """Return our record of a written scan."""
    name = f"scan{number:03d}"
    return ScanRecord(name, name, "t2", Path(scan["image"]), Path(scan["mask"]), None, 0, None, "ixi")


def monai_chain(shape: Sequence[int]) -> mt.Compose:
    """Return the dictionary chain that MONAI's tutorials would build for these scans."""
    keys = ["image", "mask"]
    return mt.Compose(
        [
            mt.LoadImaged(keys),
            mt.EnsureChannelFirstd(keys),
            mt.Orientationd(keys, "RAS", labels=None),
            mt.Spacingd(keys, (2.0, 2.0, 2.0), mode=("bilinear", "nearest")),
            mt.ResizeWithPadOrCropd(keys, shape),
            mt.ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True),
        ]
    )


def subjects(
    scans: int = 4, shape: tuple[int, int, int] = (192, 192, 100), atlas: tuple[int, int, int] = (240, 240, 155)
) -> Sequence[Subject]:
    """Return cold and warm loading of generated scans of ``shape``; the papers' steps for one on their ``atlas`` grid."""
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="bench_loading_"))
    folder = Path(_FOLDERS[-1].name)
    paths = write_scans(folder, scans, shape)
    (registered,) = write_scans(folder / "atlas", 1, atlas)
    kept = tuple(slice((n - m + 1) // 2, (n - m + 1) // 2 + m) for n, m in zip(atlas, shape, strict=True))
    records = [record(number, scan) for number, scan in enumerate(paths)]
    grid = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    settings = preparation("standard", shape=grid)
    chain = monai_chain(grid)
    inside = prepare_case(records[0], settings).mask[0] > 0

    def uncorrelated(result: Any, own: Any) -> float:
        values = np.asarray(result["image"])[0][inside], own.image[0][inside]
        return 1 - float(np.corrcoef(*values)[0, 1])

    def papers_steps(module: Any) -> Candidate:
        module.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

        def run() -> Any:
            image, mask = (module.ReadImage(registered[key]) for key in ("image", "mask"))
            smoothed = module.CurvatureFlow(module.Cast(image, module.sitkFloat32), 0.125, 3)
            voxels, brain = (module.GetArrayFromImage(part)[kept[::-1]] for part in (smoothed, mask))
            low, high = np.percentile(voxels[brain > 0], (1, 99))
            scaled = module.GetImageFromArray((np.clip(voxels, low, high) - low) / (high - low))
            half = module.Resample(
                scaled, grid, module.Transform(), module.sitkBSpline, [0.5] * 3, [2.0] * 3, np.eye(3).ravel().tolist()
            )
            return module.GetArrayFromImage(half).transpose(2, 1, 0)

        return Candidate("SimpleITK: the same steps", run, lambda a, b: float(np.abs(a - b.image[0]).max()), 1e-4)

    def spline(module: Any) -> Candidate:
        module.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
        source = module.GetImageFromArray(voxels.transpose(2, 1, 0))
        where = (grid, module.Transform(), module.sitkBSpline, [0.5] * 3, [2.0] * 3, np.eye(3).ravel().tolist())
        run = lambda: module.GetArrayFromImage(module.Resample(source, *where)).transpose(2, 1, 0)  # noqa: E731
        return Candidate("SimpleITK BSpline", run, lambda a, b: float(np.abs(a - b).max()), 1e-5)

    exact = preparation("isbi2024", shape=grid)
    voxels = np.random.default_rng(0).random(shape, dtype=np.float32)
    whole = nib.load(registered["image"]).get_fdata(dtype=np.float32)
    papers = Subject(
        f"A scan of {' x '.join(map(str, atlas))} by the papers' steps (curvature flow, crop, cubic B-spline)",
        [
            Candidate("ours, preparation isbi2024", lambda: prepare_case(record(0, registered), exact)),
            peer("SimpleITK", "SimpleITK: the same steps", papers_steps),
            Candidate(
                "curvature flow alone (ITK), of the box that is not 0", lambda: curvature_flow(whole, (1.0, 1.0, 1.0), 3, 0.125)
            ),
            Candidate("ours, preparation standard", lambda: prepare_case(record(0, registered), settings), note="no smoothing, cell means"),
        ],
        3,
        "at least 2.3x",
    )  # fmt: skip
    halving = Subject(
        "Halving by cubic B-spline alone",
        [Candidate("ours: three matrix products", lambda: halve_bspline(voxels)), peer("SimpleITK", "SimpleITK BSpline", spline)],
        3,
        "at least 10x",
    )  # fmt: skip

    def torchio_subject(module: Any, scan: dict[str, str]) -> Any:
        return module.Subject(image=module.ScalarImage(scan["image"]), mask=module.LabelMap(scan["mask"]))

    def torchio_chain(module: Any) -> Any:
        steps = [
            module.ToCanonical(),
            module.Resample(2),
            module.CropOrPad(grid),
            module.RescaleIntensity((0, 1), (1, 99), masking_method="mask"),
        ]
        return module.Compose(steps)

    def torchio_cold(module: Any) -> Candidate:
        steps = torchio_chain(module)
        run = lambda: {"image": steps(torchio_subject(module, paths[0])).image.data.numpy()}  # noqa: E731
        return Candidate("TorchIO", run, uncorrelated, 0.25, "1 - correlation in the brain; another interpolation")

    cold = Subject(
        f"One cold scan with mask, {' x '.join(map(str, shape))} at 1 mm",
        [
            Candidate("ours: read, scale, halve by cell means", lambda: prepare_case(records[0], settings)),
            Candidate(
                "MONAI dictionary chain",
                lambda: chain(paths[0]),
                uncorrelated,
                0.25,
                "1 - correlation in the brain; another interpolation",
            ),
            peer("torchio", "TorchIO", torchio_cold),
        ],
        3,
    )

    cases = build_cases(records, settings, folder / "cache", "train")
    held = SliceDataset(cases, seed=0)
    sampler = EpochSampler(len(held), min(BATCH, scans), seed=0)
    loader = DataLoader(held, batch_sampler=sampler)

    crop = [
        mt.RandSpatialCropd(["image", "mask"], (*grid[:2], 1), random_size=False),
        mt.SqueezeDimd(["image", "mask"], -1),
    ]

    def batches_of(dataset: Any) -> Callable[[], Any]:
        stock = MonaiDataLoader(dataset, batch_size=min(BATCH, scans), shuffle=True)
        return lambda: [batch["image"] for batch in stock]

    def torchio_warm(module: Any) -> Candidate:
        dataset = module.SubjectsDataset(
            [torchio_subject(module, scan) for scan in paths], transform=torchio_chain(module)
        )

        def run() -> Any:
            order = torch.randperm(len(dataset))
            return torch.stack(
                [dataset[int(index)].image.data[..., int(torch.randint(0, grid[2], ()))] for index in order]
            )

        return Candidate("TorchIO SubjectsDataset, no cache", run, note="without a loader")

    stock_steps = mt.Compose([*chain.transforms, *crop])
    plain, cached = Dataset(paths, stock_steps), CacheDataset(paths, stock_steps, progress=False)
    ours = Candidate("ours: slices of one array in memory", lambda: [batch["image"] for batch in loader])
    cold_epoch = Subject(
        f"One epoch without a cache, {scans} scans x 1 slice",
        [
            ours,
            Candidate("MONAI Dataset, no cache", batches_of(plain)),
            peer("torchio", "TorchIO SubjectsDataset, no cache", torchio_warm),
        ],
        3,
        "at least 1000x",
    )
    repeated = [{**case, "case_id": f"{case['case_id']}_{k}"} for k in range(REPEATS) for case in cases]
    many = SliceDataset(repeated, seed=0)
    many_loader = DataLoader(many, batch_sampler=EpochSampler(len(many), min(BATCH, scans), seed=0))
    warm_epoch = Subject(
        f"One epoch from a cache, {REPEATS * scans} scans ({scans}, {REPEATS} times) x 1 slice",
        [
            Candidate("ours: slices of one array in memory", lambda: [batch["image"] for batch in many_loader]),
            Candidate("MONAI CacheDataset", batches_of(ConcatDataset([cached] * REPEATS))),
        ],
        5,
        "at least 100x",
    )
    return [cold, papers, halving, cold_epoch, warm_epoch]
