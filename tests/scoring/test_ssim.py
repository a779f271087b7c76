# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from skimage.metrics import structural_similarity

from custom.core.errors import ConfigError, DataError
from custom.scoring import SSIM, kernel_size, ssim_map
from custom.scoring import ssim as ssim_module
from custom.scoring.ssim import _blur
from tests.oracles.dense_ssim import dense_ssim

SIGMAS = [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7]


def volumes(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(shape, generator=generator, dtype=dtype)
    return image, 0.6 * image + 0.4 * torch.rand(shape, generator=generator, dtype=dtype)


def test_kernel_sizes_are_those_of_the_paper() -> None:
    assert [kernel_size(sigma) for sigma in SIGMAS] == [3, 5, 5, 7, 9, 11, 11, 13]


@pytest.mark.parametrize("sigma", [0.3, 0.9, 1.7])
@pytest.mark.parametrize("shape", [(16, 17, 18), (70, 9, 31)])  # 70 and 31: the band is cut into uneven blocks
def test_equals_the_dense_convolution(sigma: float, shape: tuple[int, ...]) -> None:
    image, reconstruction = volumes(1, *shape)
    expected = dense_ssim(image, reconstruction, sigma)
    torch.testing.assert_close(ssim_map(image, reconstruction, sigma), expected, rtol=0, atol=1e-10)
    single = ssim_map(image.float(), reconstruction.float(), sigma)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("block", [1, 7, 10**9])  # 10**9: one block, as on a GPU
def test_cutting_the_band_into_blocks_changes_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, reconstruction = volumes(9, 50, 13, 27)
    expected = ssim_map(image, reconstruction, 1.7)
    monkeypatch.setattr(ssim_module, "_CPU_BLOCK", block)
    torch.testing.assert_close(ssim_map(image, reconstruction, 1.7), expected, rtol=0, atol=1e-12)


def test_float32_stays_accurate_where_the_range_is_far_from_zero() -> None:
    image, reconstruction = (0.8 + 0.2 * volume for volume in volumes(10, 20, 20, 20))
    expected = dense_ssim(image, reconstruction, 0.5)
    single = ssim_map(image.float(), reconstruction.float(), 0.5)
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 4, 3), (2, 2, 2), (5, 3, 1)])
def test_blur_mirrors_axes_shorter_than_the_window(shape: tuple[int, ...]) -> None:
    volume = torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = volume.numpy()
    for axis in range(3):
        expected = gaussian_filter1d(expected, 1.7, axis=axis, mode="mirror", radius=6)
    np.testing.assert_allclose(_blur(volume, 1.7, 3).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_interior_equals_scikit_image(spatial_dims: int) -> None:
    image, reconstruction = volumes(3, 20, 22, 21)
    ours = ssim_map(image, reconstruction, 1.5, data_range=1.0, spatial_dims=spatial_dims).numpy()

    def theirs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
        return structural_similarity(first, second, full=True, **options)[1]

    if spatial_dims == 3:
        expected = theirs(image.numpy(), reconstruction.numpy())
    else:
        pairs = [(image[..., z].numpy(), reconstruction[..., z].numpy()) for z in range(21)]
        expected = np.stack([theirs(*pair) for pair in pairs], axis=-1)
    inner = (slice(5, -5), slice(5, -5), slice(5, -5) if spatial_dims == 3 else slice(None))
    np.testing.assert_allclose(ours[inner], expected[inner], atol=1e-10)


def test_equals_torchmetrics_in_2d_up_to_the_border() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    image, reconstruction = volumes(4, 24, 26, 3)
    slices = [volume.permute(2, 0, 1)[:, None] for volume in (reconstruction, image)]
    _, theirs = functional.structural_similarity_index_measure(
        *slices, sigma=1.5, data_range=1.0, return_full_image=True, reduction="none"
    )
    ours = ssim_map(image, reconstruction, 1.5, data_range=1.0, spatial_dims=2)
    torch.testing.assert_close(ours, theirs[:, 0].permute(1, 2, 0), rtol=0, atol=1e-6)


def test_constant_volumes_follow_the_luminance_term() -> None:
    ours = ssim_map(torch.full((8, 8, 8), 0.2), torch.full((8, 8, 8), 0.6), 0.9, data_range=1.0)
    torch.testing.assert_close(ours, torch.full_like(ours, (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)), rtol=0, atol=1e-4)


def test_two_constant_volumes_have_no_range_but_a_finite_score() -> None:
    zeros = torch.zeros(6, 6, 6)
    assert torch.equal(ssim_map(zeros, zeros, 0.9), torch.ones(6, 6, 6))
    assert torch.isfinite(SSIM(0.9)(zeros, zeros + 0.5)).all()


def test_auto_range_is_the_larger_of_the_two_and_is_taken_per_item() -> None:
    image, reconstruction = volumes(5, 2, 1, 9, 9, 9)
    reconstruction = reconstruction * torch.tensor([3.0, 0.5]).view(2, 1, 1, 1, 1)
    ours = ssim_map(image, reconstruction, 0.9)
    spans = [max(float(v[i].max() - v[i].min()) for v in (image, reconstruction)) for i in range(2)]
    assert spans[0] > 1.5 > 1.1 > spans[1]
    for item, span in enumerate(spans):
        expected = dense_ssim(image[item, 0], reconstruction[item, 0], 0.9, data_range=span)
        torch.testing.assert_close(ours[item, 0], expected, rtol=0, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(SIGMAS), st.sampled_from([2, 3]), st.sampled_from(["auto", 1.0]))
def test_score_properties(seed: int, sigma: float, spatial_dims: int, data_range: float | str) -> None:
    image, reconstruction = volumes(seed, 3, 1, 8, 9, 7, dtype=torch.float32)
    score = SSIM(sigma, data_range=data_range, spatial_dims=spatial_dims)
    scores = score(image, reconstruction)
    assert scores.shape == image.shape
    assert float(scores.min()) >= 0
    assert float(scores.max()) <= 2 + 1e-4
    assert float(score(image, image).max()) <= 1e-4
    torch.testing.assert_close(score(reconstruction, image), scores, rtol=0, atol=1e-4)
    order = [2, 0, 1]
    assert torch.equal(score(image[order], reconstruction[order]), scores[order])
    assert torch.equal(score(image[1, 0], reconstruction[1, 0]), scores[1, 0])


def test_2d_windows_do_not_look_at_other_slices() -> None:
    image, reconstruction = volumes(6, 12, 12, 5)
    changed = reconstruction.clone()
    changed[..., 2] = reconstruction[..., 2].flip(0)
    flat = [ssim_map(image, other, 1.1, data_range=1.0, spatial_dims=2) for other in (reconstruction, changed)]
    deep = [ssim_map(image, other, 1.1, data_range=1.0, spatial_dims=3) for other in (reconstruction, changed)]
    assert torch.equal(flat[0][..., [0, 1, 3, 4]], flat[1][..., [0, 1, 3, 4]])
    assert not torch.equal(flat[0][..., 2], flat[1][..., 2])
    assert not torch.equal(deep[0][..., 1], deep[1][..., 1])


def test_autocast_does_not_reach_the_map() -> None:
    image, reconstruction = volumes(7, 30, 30, 20, dtype=torch.float32)
    expected = ssim_map(image, reconstruction, 1.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (image[..., 0] @ image[..., 1]).dtype == torch.bfloat16
        assert torch.equal(ssim_map(image, reconstruction, 1.1), expected)


def test_tf32_is_off_inside_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = torch.backends.cuda.matmul
    if not hasattr(setting, "fp32_precision"):
        pytest.skip("torch 2.8 has no per-backend precision")
    inside, multiply, before = set(), torch.mm, torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch, "mm", lambda *args, **kw: inside.add(setting.fp32_precision) or multiply(*args, **kw))
    torch.set_float32_matmul_precision("high")
    try:
        ssim_map(*volumes(7, 6, 6, 6), 1.1)
        assert (inside, setting.fp32_precision) == ({"ieee"}, "tf32")
    finally:
        torch.set_float32_matmul_precision(before)


def test_inputs_are_left_alone_and_no_graph_is_kept() -> None:
    image, reconstruction = volumes(8, 6, 6, 6)
    before = image.clone()
    similarity = ssim_map(image, reconstruction.requires_grad_(), 0.7)
    assert torch.equal(image, before)
    assert not similarity.requires_grad


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sigma": 0.0}, "sigma > 0"),
        ({"sigma": float("nan")}, "sigma > 0"),
        ({"sigma": 1.0, "data_range": 0.0}, "data range"),
        ({"sigma": 1.0, "data_range": "dynamic"}, "dynamic"),
        ({"sigma": 1.0, "spatial_dims": 1}, "spatial_dims is 3 or 2"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SSIM(**arguments)
    with pytest.raises(ConfigError, match=words):
        ssim_map(torch.zeros(4, 4, 4), torch.zeros(4, 4, 4), **arguments)


def test_non_finite_voxels_are_refused() -> None:
    image = torch.zeros(4, 4, 4)
    image[0, 1, 2] = float("nan")
    with pytest.raises(DataError, match=r"\[0, 1, 2\]"):
        SSIM(0.9)(image, torch.zeros(4, 4, 4))
