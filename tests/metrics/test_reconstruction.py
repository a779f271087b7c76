# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

from custom.core.errors import DataError
from custom.metrics import l1_ratio, reconstruction_metrics
from custom.metrics.reconstruction import entropy_difference


@pytest.fixture
def volumes() -> tuple[NDArray, NDArray, NDArray]:
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.random((20, 18, 16)), 1.0).astype(np.float32)
    mask = np.zeros(image.shape, bool)
    mask[4:16, 4:14, 3:13] = True
    return image, (image + 0.05 * rng.standard_normal(image.shape)).clip(0, 1).astype(np.float32), mask


def wang_ssim(x: NDArray, y: NDArray) -> NDArray:
    """SSIM map of Wang et al. (2004), eq. 13, for L = 1: Gaussian of 1.5 voxels, 11 voxels wide, biased moments."""
    blur = lambda v: gaussian_filter(v, 1.5, radius=5)  # noqa: E731
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def test_every_metric_against_its_formula(volumes: tuple[NDArray, NDArray, NDArray]) -> None:
    image, reconstruction, mask = volumes
    found = reconstruction_metrics(torch.from_numpy(image), reconstruction, mask.astype(np.uint8))
    x, y = image.astype(float), reconstruction.astype(float)
    assert found["l1"] == pytest.approx(np.abs(x - y).mean())
    assert found["l1_brain"] == pytest.approx(np.abs(x - y)[mask].mean())
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1))
    assert found["psnr_brain"] == pytest.approx(peak_signal_noise_ratio(x[mask], y[mask], data_range=1))
    ssim = wang_ssim(x, y)
    assert found["ssim"] == pytest.approx(ssim[5:-5, 5:-5, 5:-5].mean(), rel=1e-6)  # skimage leaves the border out
    assert found["ssim_brain"] == pytest.approx(ssim[mask].mean(), rel=1e-6)


def test_a_perfect_copy(volumes: tuple[NDArray, NDArray, NDArray]) -> None:
    image, _, mask = volumes
    found = reconstruction_metrics(image, image, mask)
    one = pytest.approx(1)
    values = {"l1": 0, "l1_brain": 0, "ssim": one, "ssim_brain": one, "psnr": None, "psnr_brain": None}
    assert found == values | {"entropy_difference": 0}
    assert l1_ratio(image, image, mask, np.ones_like(mask)) is None


def test_entropy_difference_of_known_histograms() -> None:
    """Intensities spread evenly over 4 bins have the entropy ln 4, over one bin 0, whatever the values."""
    spread, narrow = np.repeat([0.1, 0.3, 0.5, 0.7], 5), np.full(20, 0.9)
    assert entropy_difference(spread, narrow) == pytest.approx(np.log(4))
    assert entropy_difference(narrow, spread) == pytest.approx(-np.log(4))
    assert entropy_difference(spread, spread[::-1] + 0.2) == pytest.approx(0)
    assert entropy_difference(np.array([0.1, 0.5]), np.array([-3.0, 7.0])) == pytest.approx(0)  # clipped to [0, 1]


def test_l1_ratio_of_known_errors() -> None:
    image = np.full((4, 4, 4), 0.5)
    mask, truth = np.ones(image.shape), np.zeros(image.shape)
    mask[0], truth[:2] = 0, 1  # half of the lesion lies outside the brain and must not count
    error = np.where(truth > 0, 0.3, 0.1)
    error[0] = 0.4
    assert l1_ratio(image, image + error, truth, mask) == pytest.approx(3.0)
    assert l1_ratio(image, image + error, np.zeros(image.shape), mask) is None
    assert l1_ratio(image, image + error, mask, mask) is None


def test_faults_are_refused(volumes: tuple[NDArray, NDArray, NDArray]) -> None:
    image, reconstruction, mask = volumes
    with pytest.raises(DataError, match="0 brain voxels"):
        reconstruction_metrics(image, reconstruction, np.zeros_like(mask))
    with pytest.raises(DataError, match="one shape"):
        reconstruction_metrics(image, reconstruction[:-1], mask)
    with pytest.raises(DataError, match="11 voxels"):
        reconstruction_metrics(image[:10], reconstruction[:10], mask[:10])
    reconstruction[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="reconstruction has 1"):
        reconstruction_metrics(image, reconstruction, mask)
