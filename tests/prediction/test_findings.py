# SPDX-License-Identifier: Apache-2.0
"""Findings: sizes, places and words of known blocks."""

import numpy as np
import pytest

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
