# SPDX-License-Identifier: Apache-2.0
"""Each family against SciPy, NumPy or TorchIO; shares and ranges of the draws from what the batch shows."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from custom.core.errors import ConfigError
from custom.training.augmentation import IntensityAugmentation, bias_field, blur, ghosting, power

PUBLISHED = {
    "gamma_probability": 0.5,
    "log_gamma_range": [-0.3, 0.3],
    "bias_probability": 0.25,
    "bias_order": 3,
    "bias_coefficient": 0.5,
    "blur_probability": 0.25,
    "blur_sigma_mm": [0.0, 2.0],
    "spacing_mm": 2.0,
    "ghosting_probability": 0.5,
    "ghosts_range": [4, 10],
    "ghosting_intensity_range": [0.5, 1.0],
    "ghosting_restore": 0.02,
    "keep_background": False,
}
NONE = {f"{family}_probability": 0.0 for family in ("gamma", "bias", "blur", "ghosting")}


def augmentation(**changes: object) -> IntensityAugmentation:
    return IntensityAugmentation(**(PUBLISHED | changes))


def only(family: str, **changes: object) -> IntensityAugmentation:
    return augmentation(**(NONE | {f"{family}_probability": 1.0} | changes))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slices(count: int, height: int = 48, width: int = 64) -> torch.Tensor:
    return torch.rand(count, height, width, generator=generator(99))


def test_power_keeps_signs() -> None:
    images = torch.tensor([[[-0.25, 0.0, 0.49]], [[-0.25, 0.0, 0.49]]])
    result = power(images, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(result, torch.tensor([[[-0.5, 0.0, 0.7]], [[-0.0625, 0.0, 0.2401]]]))


def test_gamma_equals_torchio() -> None:
    torchio = pytest.importorskip("torchio")
    image = slices(1)
    expected = torchio.Gamma(1.23)(image[..., None])
    torch.testing.assert_close(power(image, torch.tensor([1.23])), expected[..., 0])


def test_bias_field_of_one_term_is_that_monomial() -> None:
    terms = [(i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)]
    assert len(terms) == 20
    x, y = np.linspace(-1, 1, 5)[:, None], np.linspace(-1, 1, 7)[None]
    fields = bias_field(torch.eye(20) * 0.4, torch.full((20,), -0.6), 3, 5, 7)
    for field, (i, j, k) in zip(fields, terms, strict=True):
        np.testing.assert_allclose(field, np.exp(0.4 * x**i * y**j * (-0.6) ** k) * np.ones((5, 7)), rtol=1e-5)


def test_bias_field_is_a_slice_of_torchios() -> None:
    torchio = pytest.importorskip("torchio")
    coefficients = torch.rand(1, 20, generator=generator(1)) - 0.5
    volume = torchio.BiasField.generate_bias_field(torch.empty(1, 48, 64, 10), 3, coefficients[0].tolist())
    z = (np.arange(10) - 4.5) / 4.5
    for height in (0, 3, 9):
        field = bias_field(coefficients, torch.tensor([z[height]], dtype=torch.float32), 3, 48, 64)[0]
        np.testing.assert_allclose(field, volume[..., height], rtol=1e-4)


@pytest.mark.parametrize("sigma", [(0.0, 0.0), (1.0, 0.3), (0.05, 0.77), (0.4, 1.0)])
def test_blur_equals_scipy(sigma: tuple[float, float]) -> None:
    images = slices(2)
    result = blur(images, torch.tensor([sigma, sigma[::-1]]), 1.0)
    np.testing.assert_allclose(result[0], ndimage.gaussian_filter(images[0].numpy(), sigma), atol=1e-5)
    np.testing.assert_allclose(result[1], ndimage.gaussian_filter(images[1].numpy(), sigma[::-1]), atol=1e-5)


def test_blur_of_a_wide_range_on_a_small_image_equals_scipy() -> None:
    image = slices(1, 5, 6)
    result = blur(image, torch.tensor([[2.0, 1.5]]), 2.0)
    np.testing.assert_allclose(result[0], ndimage.gaussian_filter(image[0].numpy(), (2.0, 1.5)), atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize(("ghosts", "intensity"), [(4, 0.5), (7, 1.0), (10, 0.83)])
@pytest.mark.parametrize("shape", [(48, 64), (96, 96), (51, 45)])
def test_ghosting_equals_the_two_dimensional_fourier_definition(
    dim: int, ghosts: int, intensity: float, shape: tuple[int, int]
) -> None:
    image = slices(1, *shape)
    spectrum = np.fft.fftshift(np.fft.fft2(image[0].double().numpy()))
    lines = np.moveaxis(spectrum, dim - 1, 0)  # a view
    original = lines.copy()
    lines[::ghosts] *= 1 - intensity
    middle, kept = shape[dim - 1] // 2, round(0.02 * shape[dim - 1]) // 2
    lines[middle - kept : middle + kept] = original[middle - kept : middle + kept]
    expected = np.fft.ifft2(np.fft.ifftshift(spectrum)).real
    result = ghosting(image, torch.tensor([ghosts]), torch.tensor([intensity]), 0.02, dim)
    np.testing.assert_allclose(result[0], expected, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2])
def test_ghosting_equals_torchio(dim: int) -> None:
    torchio = pytest.importorskip("torchio")
    image = slices(1, 96, 80)
    expected = torchio.Ghosting(5, dim - 1, 0.7, 0.02)(image[..., None])[..., 0]
    result = ghosting(image, torch.tensor([5]), torch.tensor([0.7]), 0.02, dim)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["gamma", "bias", "blur", "ghosting"])
def test_probability_is_the_share_of_changed_samples(family: str) -> None:
    images = slices(1, 24, 24)[:, None].expand(800, 1, 24, 24)
    for probability in (0.0, 0.3, 1.0):
        chosen = NONE | {f"{family}_probability": probability, "blur_sigma_mm": [1.5, 2.0]}
        result = augmentation(**chosen)(images, None, generator(1))  # σ near 0 would change nothing
        changed = (result != images).flatten(1).any(1).float().mean().item()
        assert changed == pytest.approx(probability, abs=0.05 if 0 < probability < 1 else 0)


def test_families_are_drawn_independently() -> None:
    images = slices(1, 24, 24)[:, None].expand(4000, 1, 24, 24)
    result = augmentation()(images, None, generator(2))
    untouched = (result == images).flatten(1).all(1).float().mean().item()
    assert untouched == pytest.approx(0.5 * 0.75 * 0.75 * 0.5, abs=0.02)  # 14 %


def test_log_gamma_is_uniform_over_its_range_and_per_sample() -> None:
    images = torch.full((2000, 1, 1, 1), 0.5)
    gamma = only("gamma")(images, None, generator(3)).log() / np.log(0.5)
    log_gamma = gamma.log().flatten().sort().values
    assert log_gamma[0] > -0.3
    assert log_gamma[-1] < 0.3
    assert (log_gamma - torch.linspace(-0.3, 0.3, 2000)).abs().max() < 0.03


def test_bias_blur_and_ghosting_stay_in_their_ranges() -> None:
    field = only("bias")(torch.ones(500, 1, 9, 9), None, generator(4)).log()[:, 0]
    assert field.std() > 0.2
    assert field.abs().max() <= 20 * 0.5
    assert field[:, 4, 4].abs().max() < 4 * 0.5 + 1e-4  # at x = y = 0 only the powers of z are left

    impulse = torch.zeros(500, 1, 17, 17)
    impulse[:, 0, 8, 8] = 1
    spread = only("blur")(impulse, None, generator(5))[:, 0].clamp(min=0)
    for dim in (1, 2):
        width = (spread.sum(3 - dim) * (torch.arange(17.0) - 8) ** 2).sum(1).sqrt()
        assert width.max() < 1.01  # 2 mm at 2 mm spacing
        assert width.max() > 0.95
        assert width.median() == pytest.approx(0.5, abs=0.15)

    # A constant line has one frequency, the middle one of k-space, which is restored: nothing may change.
    constant = only("ghosting")(torch.full((200, 1, 96, 96), 0.5), None, generator(6))
    torch.testing.assert_close(constant, torch.full_like(constant, 0.5))
    spectrum = torch.fft.fft2(only("ghosting")(impulse, None, generator(6)).double()).abs()[:, 0]
    along = [(spectrum - spectrum.mean(dim, keepdim=True)).abs().amax((1, 2)) < 1e-3 for dim in (1, 2)]
    assert along[0].float().mean() == pytest.approx(0.5, abs=0.1)
    assert (along[0] ^ along[1]).all()  # exactly one axis each


def test_background_stays_zero() -> None:
    images, mask = torch.zeros(64, 1, 32, 32), torch.zeros(64, 1, 32, 32, dtype=torch.uint8)
    mask[:, :, 8:24, 8:24] = 1
    images[mask > 0] = 0.7
    for changes in ({"blur_probability": 0.0, "ghosting_probability": 0.0}, {"keep_background": True}):
        result = augmentation(**changes)(images, mask, generator(7))
        assert (result[mask == 0] == 0).all()
        assert not torch.equal(result, images)
    assert (augmentation()(images, mask, generator(7))[mask == 0] != 0).any()


def test_input_is_left_alone_and_a_sample_depends_on_seed_and_place_only() -> None:
    images = slices(32)[:, None]
    before = images.clone()
    result = augmentation()(images, None, generator(8))
    assert torch.equal(images, before)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    torch.testing.assert_close(augmentation()(images[:5], None, generator(8)), result[:5], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(augmentation()(images, None, generator(9)), result)


def test_faults_are_named() -> None:
    with pytest.raises(ConfigError, match=r"1\.5"):
        augmentation(blur_probability=1.5)
    with pytest.raises(ConfigError, match=r"\(1, 8, 8\)"):
        augmentation()(torch.zeros(1, 8, 8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_result_on_a_gpu_for_a_cpu_generator() -> None:
    images = slices(32, 96, 96)[:, None]
    device = augmentation()(images.cuda(), None, generator(1)).cpu()
    torch.testing.assert_close(device, augmentation()(images, None, generator(1)), rtol=1e-4, atol=1e-4)
