# SPDX-License-Identifier: Apache-2.0
"""A marker of known place and size must come back on it: all 48 orientations, oblique, 0.5 to 6 mm."""

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from scipy.spatial.transform import Rotation

from custom.core.errors import DataError
from custom.preparation.grid_dictionary import ToModelGridd, to_scan_grid
from custom.preparation.prepare import preparation
from custom.preparation.subject import Subject
from custom.volumes.resampling import resample

pytestmark = [
    pytest.mark.fault(11),
    pytest.mark.fault(
        71,
        "left-right mirrored masks through MONAI Label",
        "the bundle turns its result back into the stored order; all 48 orientations are tested",
        "foreseen",
    ),
]

AXIS_CODES = [
    "".join(codes) for letters in itertools.permutations(("RL", "AP", "SI")) for codes in itertools.product(*letters)
]
MARKER_MM, MARKER_RADIUS_MM = np.array([-31.0, 22.0, 13.0]), 9.0  # left, front, up
BRAIN_MM, BRAIN_CENTRE_MM = np.array([60.0, 75.0, 45.0]), np.array([5.0, -8.0, 6.0])
SETTINGS = preparation("standard")
WHOLE_RANGE = preparation("standard", percentiles=(0, 100))


def affine_for(codes: str, spacing: tuple[float, float, float], rotation: np.ndarray | None = None) -> np.ndarray:
    """Voxel-to-world matrix of a scan in these codes around the brain; spacing is along right, anterior, superior."""
    affine = np.eye(4)
    for axis, code in enumerate(codes):
        row = next(row for row, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        affine[:3, axis] = 0
        affine[row, axis] = spacing[row] * (1 if code in "RAS" else -1)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ affine[:3, :3]
    affine[:3, 3] = BRAIN_CENTRE_MM - affine[:3, :3] @ ((np.array(shape_for(affine)) - 1) / 2) + [0.3, -0.4, 0.2]
    return affine


def shape_for(affine: np.ndarray) -> tuple[int, ...]:
    return tuple(int(n) for n in np.ceil(190 / np.linalg.norm(affine[:3, :3], axis=0)))


def world_of(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    """World coordinates ``[3, ...]`` of voxel indices ``[3, ...]``."""
    return np.einsum("ij,j...->i...", affine[:3, :3], index) + affine[:3, 3].reshape(3, *[1] * (index.ndim - 1))


def distance(world: np.ndarray, centre: np.ndarray, radius: np.ndarray | float = 1.0) -> np.ndarray:
    scale = np.broadcast_to(np.asarray(radius, dtype=float), 3)
    return np.sqrt(sum(((world[k] - centre[k]) / scale[k]) ** 2 for k in range(3)))


def phantom(affine: np.ndarray) -> np.ndarray:
    """Brain (1) with a marker (3); voxels at the marker are the mean of 125 points in them."""
    shape = shape_for(affine)
    world = world_of(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")))
    image = (distance(world, BRAIN_CENTRE_MM, BRAIN_MM) < 1).astype(np.float32)
    near = np.argwhere(distance(world, MARKER_MM) < MARKER_RADIUS_MM + 6).T
    points = np.array(list(itertools.product((-0.4, -0.2, 0, 0.2, 0.4), repeat=3))).T
    inside = distance(world_of(affine, near[:, :, None] + points[:, None]), MARKER_MM) < MARKER_RADIUS_MM
    image[tuple(near)] += 2 * inside.mean(axis=1)
    return image


def round_trip(affine: np.ndarray) -> tuple[MetaTensor, MetaTensor]:
    data = {"image": MetaTensor(phantom(affine)[None], affine=affine)}
    data = ToModelGridd(keys="image", preparation=WHOLE_RANGE)(data)
    pred = data["image"][:1].as_tensor()  # brain is 0 and marker 1 by the scaling
    return to_scan_grid(pred, data["image"]), to_scan_grid(pred > 0.5, data["image"])


def centre_of(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.argwhere(weights > 0).T
    return np.average(world_of(affine, index), axis=1, weights=weights[tuple(index)].astype(float))


def assert_on_the_marker(affine: np.ndarray) -> None:
    heat, mask = round_trip(affine)
    assert tuple(heat.shape) == tuple(mask.shape) == (1, *shape_for(affine))
    assert np.array_equal(np.asarray(heat.affine), affine)
    weights, binary = heat.numpy()[0], mask.numpy()[0]
    assert np.linalg.norm(centre_of(weights, affine) - MARKER_MM) < 1.0  # half a voxel of the model
    assert np.linalg.norm(centre_of(binary, affine) - MARKER_MM) < 1.0
    assert world_of(affine, np.argwhere(binary).T)[0].max() < 0  # left stays left, every voxel of it
    volume = binary.sum() * abs(np.linalg.det(affine[:3, :3]))
    assert volume == pytest.approx(4 / 3 * np.pi * MARKER_RADIUS_MM**3, rel=0.25)


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_marker_comes_back_in_every_orientation(codes: str) -> None:
    assert_on_the_marker(affine_for(codes, (2.2, 2.6, 3.1)))


def test_there_are_48_orientations() -> None:
    assert len(set(AXIS_CODES)) == 48


@pytest.mark.parametrize(
    "spacing",
    [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.9, 0.9, 5.0), (3.0, 3.0, 3.0), (1.5, 6.0, 1.5), (6.0, 2.5, 2.5)],
)
@pytest.mark.parametrize("codes", ["RAS", "LPI"])
def test_marker_comes_back_at_every_spacing(codes: str, spacing: tuple[float, float, float]) -> None:
    assert_on_the_marker(affine_for(codes, spacing))


def test_marker_comes_back_at_half_a_millimetre() -> None:
    assert_on_the_marker(affine_for("PSR", (2.5, 0.5, 2.5)))
    assert_on_the_marker(affine_for("LAS", (0.5, 2.5, 6.0)))


@pytest.mark.parametrize("seed", range(4))
def test_marker_comes_back_from_oblique_scans(seed: int) -> None:
    angles = np.random.default_rng(seed).uniform(-40, 40, 3)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    assert_on_the_marker(affine_for(AXIS_CODES[seed * 11], (2.0, 2.5, 4.0), rotation))


def test_stored_order_changes_nothing() -> None:
    volumes = []
    for codes in ("RAS", "LPS", "SAR"):
        affine = affine_for(codes, (1.7, 2.1, 3.0))
        affine[:3, 3] = BRAIN_CENTRE_MM - affine[:3, :3] @ ((np.array(shape_for(affine)) - 1) / 2)
        volumes.append(WHOLE_RANGE(Subject("phantom", phantom(affine), affine)).image)
    assert np.abs(volumes[0] - volumes[1]).max() < 1e-4
    assert np.abs(volumes[0] - volumes[2]).max() < 1e-4


def test_after_monai_loading(tmp_path) -> None:
    import nibabel as nib

    affine = affine_for("LAS", (2.0, 2.0, 4.0))
    nib.save(nib.Nifti1Image(phantom(affine), affine), tmp_path / "scan.nii.gz")
    data = Compose([LoadImaged(keys="image"), EnsureChannelFirstd(keys="image"), ToModelGridd("image", WHOLE_RANGE)])(
        {"image": str(tmp_path / "scan.nii.gz"), "image_path": "text that Spacingd would stumble over"}
    )
    assert data["image"].shape == (2, 96, 96, 50)
    assert np.allclose(data["image"].meta["original_affine"], affine)


def test_fine_noise_is_averaged_and_not_aliased() -> None:
    """The mean of (2 / 0.8)³ = 16 independent voxels varies by a quarter; a point sample would vary as much as one."""
    affine = np.diag([0.8, 0.8, 0.8, 1.0])
    noise = np.random.default_rng(0).normal(size=(90, 90, 70)).astype(np.float32)
    coarse = resample(noise, affine, np.diag([2.0, 2.0, 2.0, 1.0]), (36, 36, 28))[4:-4, 4:-4, 4:-4]
    assert 0.1 < coarse.std() < 0.3
    unfiltered = resample(noise, affine, np.diag([2.0, 2.0, 2.0, 1.0]), (36, 36, 28), antialias=False)
    assert unfiltered[4:-4, 4:-4, 4:-4].std() > 0.5


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_prepared_scan_is_cut_as_in_training(tmp_path, spacing: float) -> None:
    import nibabel as nib

    from custom.preparation.prepare import prepare_case
    from custom.volumes.records import ScanRecord

    generator = np.random.default_rng(1)
    shape = tuple(int(n * 2 / spacing) for n in (96, 96, 80))
    centre, radius = (np.array(shape) - 1) / 2 - [0, 0, 1], np.array([30, 38, 33]) * 2 / spacing
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    mask = ((((index - centre) / radius) ** 2).sum(-1) < 1).astype(np.uint8)
    image = (mask * generator.uniform(50, 200, shape)).astype(np.float32)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    for name, array in (("image", image), ("mask", mask)):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    record = ScanRecord("a", "a", "t1", tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz", None, 0, None, "ixi")
    trained = prepare_case(record, SETTINGS)
    ours = SETTINGS(Subject("a", image, affine, mask=mask))
    assert np.array_equal(ours.image, trained.image[0])
    assert np.array_equal(ours.mask, trained.mask[0])
    assert np.allclose(ours.affine, trained.affine)


def test_empty_mask_is_refused() -> None:
    image = np.ones((20, 20, 20), dtype=np.float32)
    with pytest.raises(DataError, match="case7: the brain mask is empty"):
        SETTINGS(Subject("case7", image, np.diag([3.0, 3.0, 3.0, 1.0]), mask=np.zeros(image.shape, np.uint8)))


def test_scan_without_affine_is_refused() -> None:
    with pytest.raises(DataError, match="EnsureChannelFirstd"):
        ToModelGridd("image", SETTINGS)({"image": torch.zeros(1, 4, 4, 4)})
