# SPDX-License-Identifier: Apache-2.0
"""Findings: sizes, places and words of known blocks."""

import numpy as np
import pytest

from custom.prediction.anatomy import region_at
from custom.prediction.findings import find_findings, place_of

LAS = np.array([[-2.0, 0, 0, 60], [0, 2, 0, -60], [0, 0, 3, -45], [0, 0, 0, 1]])


def test_known_blocks() -> None:
    mask, scores = np.zeros((60, 60, 30), dtype=np.uint8), np.zeros((60, 60, 30))
    mask[5:10, 40:45, 20:25] = 1  # low index is right in LAS
    scores[7, 42, 22] = 0.9
    mask[50, 10, 5] = 1
    scores[50, 10, 5] = 0.4
    first, second = find_findings(mask, scores, LAS, np.zeros(3))
    assert first.volume_ml == pytest.approx(125 * 0.012)
    assert first.centre_mm == (60 - 2 * 7, -60 + 2 * 42, -45 + 3 * 22)
    assert first.where == "right, anterior, superior"
    assert first.peak == pytest.approx(0.9)
    assert second.volume_ml == pytest.approx(0.012)
    assert second.where == "left, posterior, inferior"


def test_corner_neighbours_are_one_finding() -> None:
    mask = np.zeros((4, 4, 4))
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    assert len(find_findings(mask, mask, np.eye(4), np.zeros(3))) == 1


def test_empty_mask() -> None:
    assert find_findings(np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), np.eye(4), np.zeros(3)) == []


def test_middle() -> None:
    assert place_of(np.array([4.0, -4.9, 0.0])) == "central"


def test_burden_comes_before_size_and_peak() -> None:
    """A large clear region before a larger faint one and before a single voxel with the highest score."""
    mask, scores = np.zeros((40, 40, 40), dtype=np.uint8), np.zeros((40, 40, 40))
    for box, value in (((2, 12), 0.51), ((16, 24), 0.9), ((30, 31), 2.0)):
        part = (slice(*box),) * 3
        mask[part], scores[part] = 1, value
    found = find_findings(mask, scores, np.eye(4), np.zeros(3), threshold=0.5)
    assert [round(finding.peak, 2) for finding in found] == [0.9, 0.51, 2.0]
    assert found[0].burden == pytest.approx(512 * 0.4 / 1000)


def test_places_have_names_where_template_space_is_known() -> None:
    mask = np.zeros((90, 110, 90), dtype=np.uint8)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-90, -126, -72]
    placed = np.diag([0.9, 0.9, 0.9, 1.0])
    place = np.rint((0.9 * np.array([-26, -20, -16]) - affine[:3, 3]) / 2).astype(int)  # left hippocampus
    mask[tuple(slice(p - 1, p + 2) for p in place)] = 1
    (finding,) = find_findings(mask, mask.astype(float), affine, np.zeros(3), 0.5, placed)
    assert finding.region == "left temporal lobe"
    assert finding.tissue == "grey matter"
    assert finding.ventricle_mm < 10
    assert finding.words == "left temporal lobe, grey matter"


@pytest.mark.parametrize(
    ("point", "region"),
    [
        ((-38, -22, 56), "frontal lobe"),  # precentral gyrus, hand
        ((-46, -28, 52), "parietal lobe"),  # postcentral gyrus
        ((-14, -98, -2), "occipital lobe"),
        ((6, -80, 24), "occipital lobe"),  # cuneus
        ((36, -50, -18), "temporal lobe"),  # fusiform gyrus, above the tentorium
        ((-30, -60, -40), "cerebellum"),
        ((0, -26, -32), "brain stem"),  # pons
        ((2, 4, -24), "base of the brain"),  # in front of it
        ((10, -18, 8), "thalamus"),
        ((-12, 12, 10), "basal ganglia"),
        ((38, 4, 0), "insula"),
        ((-26, -20, -16), "temporal lobe"),  # hippocampus
    ],
)
def test_well_known_places(point, region) -> None:
    assert region_at(np.array(point)) == region
