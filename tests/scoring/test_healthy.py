# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json

import numpy as np
import pytest
import torch

from custom.core.description import build, describe
from custom.core.errors import ConfigError, DataError
from custom.scoring import (
    HealthyRelative,
    HealthyStatistics,
    HealthySums,
    ScanRelative,
    StandardScore,
    bound,
    intensity,
    l1,
)

SHAPE = (20, 18, 10)


def _maps(n=6, seed=0):
    """Maps of n scans whose level rises along x, with a brain that leaves the border out."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(SHAPE, dtype=bool)
    brain[2:-2, 2:-2, 1:-1] = True
    level = np.linspace(0.1, 1.0, SHAPE[0])[:, None, None]
    return [(level * rng.gamma(4.0, 0.25, SHAPE)).astype(np.float32) for _ in range(n)], brain


def _sums(maps, brain, smoothing_px=4.0):
    sums = HealthySums(smoothing_px)
    for one in maps:
        sums.add(one, brain)
    return sums


def test_moments_equal_a_direct_weighted_mean_at_every_cell():
    """An independent double loop over cells; float16 and the interpolation between cells are the only differences."""
    maps, brain = _maps()
    found = _sums(maps, brain).statistics()
    pooled = np.stack(maps)[:, brain].astype(np.float64)
    assert found.overall_mean == pytest.approx(pooled.mean())
    assert found.overall_deviation == pytest.approx(pooled.std())
    axes = [np.arange(-(-n // 2)) for n in SHAPE]
    weights = [
        np.exp(-0.5 * ((axis[:, None] - axis[None]) / 2.0) ** 2) * (abs(axis[:, None] - axis[None]) <= 6)
        for axis in axes
    ]
    cells = np.zeros((3, *(len(axis) for axis in axes)))
    for part, values in enumerate((np.ones_like(maps[0]), None, None)):
        total = sum(np.where(brain, values if part == 0 else one.astype(np.float64) ** part, 0) for one in maps)
        cells[part] = total.reshape(10, 2, 9, 2, 5, 2).sum((1, 3, 5))
    count, first, second = (np.einsum("ax,by,cz,xyz->abc", *weights, part) for part in cells)
    mean = first / count
    deviation = np.sqrt(second / count - mean**2)
    for text, expected, unit in (
        (found.mean_map, mean, found.overall_mean),
        (found.deviation_map, deviation, found.overall_deviation),
    ):
        full = torch.nn.functional.interpolate(
            torch.from_numpy(expected / unit)[None, None], scale_factor=2, mode="trilinear", align_corners=False
        )[0, 0]
        np.testing.assert_allclose(text.numpy(), full.numpy() * unit, rtol=5e-3, atol=1e-4)


def test_leaving_a_scan_out_equals_never_having_seen_it():
    maps, brain = _maps()
    left_out = _sums(maps, brain).statistics(without=(maps[2], brain))
    never = _sums([*maps[:2], *maps[3:]], brain).statistics()
    assert left_out.scans == never.scans == 5
    torch.testing.assert_close(left_out.mean_map, never.mean_map, rtol=5e-3, atol=1e-6)
    torch.testing.assert_close(left_out.deviation_map, never.deviation_map, rtol=5e-3, atol=1e-6)


def test_it_survives_the_description_with_equal_bits():
    maps, brain = _maps()
    score = HealthyRelative(l1, "z").fitted(_sums(maps, brain).statistics())
    again = build(json.loads(json.dumps(describe(score))))
    assert again == score
    image = torch.from_numpy(maps[0])
    assert torch.equal(again(image, torch.zeros(SHAPE)), score(image, torch.zeros(SHAPE)))


def test_the_place_is_taken_out_of_the_score():
    """Of a map that rises along x, the ratio is flat, and z finds a faint fault where healthy maps are small."""
    maps, brain = _maps(12)
    statistics = _sums(maps[:-1], brain, 1.5).statistics()
    ratio = HealthyRelative(intensity, "ratio", floor=0.1, statistics=statistics)(
        torch.from_numpy(maps[-1]), torch.zeros(SHAPE)
    )
    left, right = ratio[3:8][:, brain[4]], ratio[12:17][:, brain[4]]
    assert float(right.mean() / left.mean()) < 1.5 < float(maps[-1][12:17].mean() / maps[-1][3:8].mean())
    faulty = maps[-1].copy()
    faulty[4:6, 8:10, 4:6] += 0.5
    z = HealthyRelative(intensity, "z", floor=0.1, statistics=statistics)(torch.from_numpy(faulty), torch.zeros(SHAPE))
    assert z[4:6, 8:10, 4:6].mean() > 2 * z[12:17][:, brain[4]].mean()
    assert (z >= 0).all()


def test_by_hand_where_all_healthy_maps_are_equal():
    flat = np.full(SHAPE, 0.2, dtype=np.float32)
    statistics = _sums([flat, flat], np.ones(SHAPE, dtype=bool)).statistics()
    image = torch.full(SHAPE, 0.8)
    ratio = HealthyRelative(intensity, "ratio", floor=1.0, statistics=statistics)(image, torch.zeros(SHAPE))
    torch.testing.assert_close(ratio, torch.full(SHAPE, 0.8 / 0.4), rtol=4e-3, atol=0)
    assert torch.isfinite(HealthyRelative(intensity, "z", statistics=statistics)(image, torch.zeros(SHAPE))).all()


def test_the_compared_score_gets_what_it_needs_of_the_network():
    maps, brain = _maps()

    class Network:
        deviation = torch.full(SHAPE, 0.5)

    score = HealthyRelative(StandardScore(0.1), statistics=_sums(maps, brain).statistics())
    image = torch.from_numpy(maps[0])
    z = StandardScore(0.1).bind(Network)(image, torch.zeros(SHAPE))
    assert torch.equal(bound(score, Network)(image, torch.zeros(SHAPE)), score.relative(z))
    relative = bound(ScanRelative(StandardScore(0.1)), Network)(image, torch.zeros(SHAPE))
    torch.testing.assert_close(relative * z[z > 0].median() / z, torch.ones(SHAPE), rtol=0.02, atol=0)


def test_what_cannot_be_scored_is_refused():
    maps, brain = _maps(1)
    image = torch.from_numpy(maps[0])
    statistics = _sums(maps, brain).statistics()
    with pytest.raises(ConfigError, match="two or more healthy"):
        HealthyRelative(l1)(image, image)
    with pytest.raises(DataError, match="on this grid"):
        HealthyRelative(l1, statistics=statistics)(image[:10], image[:10])
    with pytest.raises(DataError, match="at least one scan beside"):
        _sums(maps, brain).statistics(without=(maps[0], brain))
    with pytest.raises(ConfigError, match="damaged"):
        _ = dataclasses.replace(statistics, mean=statistics.mean[:-8]).mean_map
    with pytest.raises(ConfigError, match="positive"):
        HealthyStatistics(SHAPE, 1, 0.0, 1.0, "", "")
    with pytest.raises(ConfigError, match="form"):
        HealthyRelative(l1, "difference")
    with pytest.raises(ConfigError, match="positive"):
        HealthyRelative(l1, floor=0.0)
    with pytest.raises(ConfigError, match="positive"):
        HealthySums(0.0)
    with pytest.raises(ConfigError, match="quantile"):
        ScanRelative(l1, 1.0)


def test_relative_to_the_scan_by_hand():
    image = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.9]).reshape(1, 1, 6)
    found = ScanRelative(l1, 0.6)(image, torch.zeros(1, 1, 6))  # brain: 0.1 ... 0.9, the third of five
    torch.testing.assert_close(found, image / 0.3)
    batch = torch.stack([image, image * 3])[:, None]
    torch.testing.assert_close(ScanRelative(l1, 0.6)(batch, torch.zeros_like(batch))[1, 0], image / 0.3)
    assert torch.equal(ScanRelative(l1)(torch.zeros(1, 1, 6), torch.zeros(1, 1, 6)), torch.zeros(1, 1, 6))
