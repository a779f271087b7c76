# SPDX-License-Identifier: Apache-2.0
"""One test scan from disk to a written segmentation, and what follows the network, against stock functions."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label, regionprops
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor

from benchmarks.harness import Candidate, Subject
from benchmarks.loading import record
from benchmarks.networks import network, noise, scheduler
from benchmarks.phantoms import head, write_scans
from benchmarks.scores import SIGMAS, dense_mean, merged, ssim_by
from custom.cohorts.cache import cached_case
from custom.core.seeding import generator_for
from custom.metrics import ScoreHistogram
from custom.postprocessing import in_mm
from custom.preparation.prepare import preparation, prepare_case
from custom.reconstruction.partial_diffusion import PartialDiffusionInferer
from custom.scoring import SSIMEnsemble

T_TEST, SEED, THRESHOLD_QUANTILE = 500, 1, 0.97
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # live as long as the process


def filtered_map(image: Tensor, reconstruction: Tensor, mask: Any) -> Any:
    """Return the masked, eroded, median filtered SSIM-ens map, by dense windows and scipy."""
    data_range = max(float(v.max() - v.min()) for v in (image, reconstruction))
    found = merged([ssim_by(dense_mean, image, reconstruction, sigma, data_range) for sigma in SIGMAS]).numpy()
    eroded = np.stack([ndimage.binary_erosion(mask[:, :, z], iterations=3) for z in range(mask.shape[2])], axis=2)
    return ndimage.median_filter(found * mask * eroded, 5, mode="reflect")


def without_small(binary: Any) -> Any:
    """Remove components of at most seven voxels in a loop."""
    for region in regionprops(label(binary, connectivity=3)):
        if region.area_filled <= 7:
            binary[tuple(region.coords.T)] = False
    return binary


def after_the_network(shape: tuple[int, int, int]) -> Subject:
    """Return everything that follows a reconstruction: map, post-processing, threshold, curves, segmentation."""
    image, reconstruction, mask, seg = head(1, shape)
    score, chain, spacing = SSIMEnsemble(SIGMAS), in_mm(), (2.0, 2.0, 2.0)

    def ours() -> Any:
        prepared = chain.prepare(score(image, reconstruction), mask, spacing)
        histogram = ScoreHistogram()
        histogram.update(prepared, seg)
        threshold, dice = histogram.best_dice()
        chain.binarise(prepared, threshold, spacing)
        return dice, histogram.average_precision(), histogram.auroc()

    def stock() -> Any:
        found, truth = filtered_map(image, reconstruction, mask.numpy()).ravel(), seg.numpy().ravel()
        precision, recall, thresholds = precision_recall_curve(truth, found)
        dice = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(dice[:-1].argmax())
        without_small((found >= thresholds[best]).reshape(shape))
        return dice[best], average_precision_score(truth, found), roc_auc_score(truth, found)

    def deviation(result: Any, own: Any) -> float:
        return float(np.abs(np.subtract(result, own)).max())

    return Subject(
        "Everything after the network, one volume: map, post-processing, threshold, curves, segmentation",
        [
            Candidate("ours", ours),
            Candidate("dense SSIM, scipy, scikit-image, scikit-learn", stock, deviation, 2e-3, "Dice, AP, AUROC"),
        ],
        3,
        "at least 12x",
    )


def subjects(size: str = "small", shape: tuple[int, int, int] = (192, 192, 100)) -> Sequence[Subject]:
    """Return the whole way of one scan with the network ``size``."""
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="bench_end_to_end_"))
    folder = Path(_FOLDERS[-1].name)
    scan = record(0, write_scans(folder, 1, shape)[0])
    settings = preparation("standard", shape=tuple(n // 2 for n in shape))
    net, make_noise, steps = network(size).eval(), noise(), scheduler()
    score, chain, spacing = SSIMEnsemble(SIGMAS), in_mm(), (2.0, 2.0, 2.0)
    cached_case(scan, settings, folder / "cache")

    def write(binary: Any, name: str) -> None:
        nib.save(
            nib.Nifti1Image(np.asarray(binary, np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz"
        )

    threshold: list[float] = []  # frozen on the first run of ours

    def ours(precision: str, slice_batch_size: int) -> torch.Tensor:
        case = cached_case(scan, settings, folder / "cache")
        image, mask = torch.from_numpy(case.image[0]), torch.from_numpy(case.mask[0])
        inferer = PartialDiffusionInferer(steps, make_noise, T_TEST, SEED, slice_batch_size, precision=precision)
        reconstruction = inferer(image[None, None], net, [scan.case_id])[0, 0]
        prepared = chain.prepare(score(image, reconstruction), mask, spacing)
        if not threshold:
            threshold.append(float(torch.quantile(prepared[prepared > 0], THRESHOLD_QUANTILE)))
        binary = chain.binarise(prepared, threshold[0], spacing)
        write(binary, "ours")
        return binary

    @torch.inference_mode()
    def slice_by_slice() -> Any:
        case = prepare_case(scan, settings)
        image, mask = torch.from_numpy(case.image[0]), case.mask[0] > 0
        slices = image.permute(2, 0, 1)[:, None] * 2 - 1
        fields = replace(make_noise, samples_per_origin=1)(
            slices, generator_for(SEED, "reconstruction", scan.case_id, T_TEST)
        )
        index = torch.tensor([T_TEST - 1])
        parts = []
        for clean, field in zip(slices.split(1), fields.split(1), strict=True):
            noisy = steps.add_noise(original_samples=clean, noise=field, timesteps=index)
            parts.append(net(noisy, timesteps=index))
        reconstruction = ((torch.cat(parts) + 1) / 2)[:, 0].permute(1, 2, 0).contiguous()
        binary = without_small(filtered_map(image, reconstruction, mask) > threshold[0])
        write(binary, "peer")
        return binary

    def share_that_differs(result: Any, own: Any) -> float:
        return float((np.asarray(result) != np.asarray(own)).sum() / max(int(own.sum()), 1))

    case = cached_case(scan, settings, folder / "cache")
    image, mask = torch.from_numpy(case.image[0]), torch.from_numpy(case.mask[0])
    inferers = {
        name: PartialDiffusionInferer(steps, make_noise, T_TEST, SEED, 4, precision=name) for name in ("fp32", "bf16")
    }
    reconstruction = inferers["fp32"](image[None, None], net, [scan.case_id])[0, 0]
    found = score(image, reconstruction)
    prepared = chain.prepare(found, mask, spacing)
    slices = image.permute(2, 0, 1)[:, None]

    def network_alone(precision: str) -> Any:
        with torch.inference_mode():
            return inferers[precision]._in_batches(net, slices, T_TEST - 1)

    shares = [
        Candidate("all of it, fp32", lambda: ours("fp32", 4)),
        Candidate("prepared scan from the cache", lambda: cached_case(scan, settings, folder / "cache")),
        Candidate("noise", lambda: make_noise(slices, generator_for(SEED, "reconstruction", scan.case_id, T_TEST))),
        Candidate("network, fp32", lambda: network_alone("fp32")),
        Candidate("network, bf16", lambda: network_alone("bf16"), note="instead of fp32"),
        Candidate("SSIM-ens", lambda: score(image, reconstruction)),
        Candidate("mask, erosion, median", lambda: chain.prepare(found, mask, spacing)),
        Candidate("threshold and components", lambda: chain.binarise(prepared, 0.1, spacing)),
        Candidate("writing", lambda: write(mask, "share")),
    ]
    return [
        after_the_network(tuple(n // 2 for n in shape)),
        Subject(f"Where the time of one test scan goes (shares), {size} network", shares, 2, "network at least 97 %"),
        Subject(
            f"One test scan end to end, {size} network",
            [
                Candidate("ours, fp32, micro-batches of 4, prepared scan cached", lambda: ours("fp32", 4)),
                Candidate("slice by slice, dense SSIM, scipy, regionprops", slice_by_slice, share_that_differs, 0.02, "flagged voxels that differ, share"),
                Candidate("ours, bf16", lambda: ours("bf16", 4), share_that_differs, 0.5, "random weights: no statement on quality"),
                Candidate("ours, fp32, all slices at once", lambda: ours("fp32", 1000), share_that_differs, 0.02, "a GPU's batch"),
            ],
            2,
            "at least 1.4x (fp32), 2.8x (bf16)",
        )
    ]  # fmt: skip
