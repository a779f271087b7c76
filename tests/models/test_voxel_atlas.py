# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from custom.core.errors import ConfigError, DataError
from custom.models.voxel_atlas import VoxelAtlas
from custom.models.weights import load_weights, save_weights


def _volumes(count=7, shape=(4, 5, 3)):
    return torch.rand(count, 1, *shape, generator=torch.Generator().manual_seed(0))


def test_maps_are_numpys_mean_and_deviation():
    volumes = _volumes() + 1000  # a naive sum of squares would lose the deviation in float32
    atlas = VoxelAtlas((4, 5, 3)).fit(volumes)
    array = volumes[:, 0].numpy().astype(np.float64)
    np.testing.assert_allclose(atlas.mean.numpy(), array.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(atlas.deviation.numpy(), array.std(axis=0, ddof=1), rtol=1e-6)


def test_the_reconstruction_is_the_mean_whatever_the_scan():
    atlas = VoxelAtlas((4, 5, 3)).fit(_volumes())
    result = atlas(torch.rand(2, 1, 4, 5, 3))
    assert result.shape == (2, 1, 4, 5, 3)
    assert torch.equal(result[0, 0], atlas.mean)
    assert torch.equal(result[1], result[0])
    before = atlas.mean.clone()
    result += 1  # callers may write into what they get
    assert torch.equal(atlas.mean, before)


def test_saved_and_loaded_as_weights(tmp_path):
    atlas = VoxelAtlas((4, 5, 3)).fit(_volumes())
    save_weights(atlas, tmp_path / "model.safetensors", {"method": "atlas"})
    again = load_weights(VoxelAtlas((4, 5, 3)), tmp_path / "model.safetensors")
    assert torch.equal(again.mean, atlas.mean)
    assert torch.equal(again.deviation, atlas.deviation)
    with pytest.raises(ConfigError, match="other shapes"):
        load_weights(VoxelAtlas((4, 5, 4)), tmp_path / "model.safetensors")


def test_faults():
    with pytest.raises(DataError, match="1 training scans"):
        VoxelAtlas((4, 5, 3)).fit(_volumes(1))
    with pytest.raises(DataError, match="training scan 1"):
        VoxelAtlas((4, 5, 4)).fit(_volumes())
    with pytest.raises(ConfigError, match="prepare the scan"):
        VoxelAtlas((4, 5, 4))(_volumes())
