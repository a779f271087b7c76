# SPDX-License-Identifier: Apache-2.0
import ast
import dataclasses
from pathlib import Path

import pytest
import torch

from custom.core.description import build, describe
from custom.core.errors import ConfigError
from custom.corruption import BlobShapes, LesionTextures, LocalCorruption, changed


def _corrupt(corruption, slabs, seed=0, difficulty=1.0):
    return corruption(*slabs, torch.Generator().manual_seed(seed), difficulty)


def test_equal_seeds_give_equal_corruption(slabs):
    one, two, other = (_corrupt(LocalCorruption(), slabs, seed) for seed in (3, 3, 4))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], other[0])


def test_nothing_changes_outside_the_brain_and_values_stay_in_range(slabs):
    images, brain = slabs[:2]
    corrupted, severity = _corrupt(LocalCorruption(), slabs)
    assert torch.equal(corrupted[~brain], images[~brain])
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1
    assert severity.min() >= 0.15
    assert severity.max() <= 1
    assert (corrupted != images).flatten(1).any(1).float().mean() > 0.8


def test_severity_blends_towards_the_target(slabs):
    """With one opaque layer of a foreign constant, y = x + s (t - x)."""
    images, brain, foreign, foreign_brain = slabs
    foreign = torch.full_like(foreign[:, :1], 0.9)
    whole = BlobShapes(radius_px=(500.0, 500.0), axis_spread=0.0, roughness=(0.0, 0.0))
    textures = LesionTextures(weights=(1.0, 0.0, 0.0), gain=(1.0, 1.0), offset=(0.0, 0.0))
    corruption = LocalCorruption(whole, textures, layers=1, severity=(0.5, 0.5), clean_share=0.0)
    corrupted, _ = _corrupt(corruption, (images, brain, foreign, torch.ones_like(foreign_brain[:, :1])))
    expected = torch.where(brain, images + 0.5 * (0.9 - images), images)
    torch.testing.assert_close(corrupted, expected, atol=2e-3, rtol=0)


def test_clean_samples_stay_what_they_are(slabs):
    corrupted, severity = _corrupt(dataclasses.replace(LocalCorruption(), clean_share=1.0), slabs)
    assert torch.equal(corrupted, slabs[0])
    assert (severity > 0).all()


def test_easy_samples_are_severe(slabs):
    _, easy = _corrupt(LocalCorruption(), slabs, difficulty=0.0)
    _, hard = _corrupt(LocalCorruption(), slabs, difficulty=1.0)
    assert easy.min() >= 0.8
    assert hard.min() < 0.5


def test_the_mask_marks_what_changed_visibly():
    clean = torch.full((1, 3, 32, 32), 0.5)
    corrupted = clean.clone()
    corrupted[:, 1, 10:18, 10:18] += 0.2
    corrupted[:, 1, 25, 25] += 0.02  # neither large nor strong
    mask = changed(clean, corrupted)
    expected = torch.zeros_like(mask)
    expected[:, 1, 10:18, 10:18] = True
    assert torch.equal(mask, expected)


def test_wrong_shapes_and_settings_are_refused(slabs):
    images, brain, foreign, foreign_brain = slabs
    with pytest.raises(ConfigError, match="2 foreign slabs each"):
        _corrupt(LocalCorruption(), (images, brain, foreign[:, :1], foreign_brain[:, :1]))
    with pytest.raises(ConfigError, match="severities within"):
        LocalCorruption(severity=(0.0, 1.0))


def test_a_model_file_can_hold_it():
    corruption = LocalCorruption(textures=LesionTextures(weights=(0.2, 0.3, 0.5)), layers=3)
    assert build(describe(corruption)) == corruption


def test_it_shares_nothing_with_the_lesions_that_models_are_tested_on():
    """Neither package imports the other, and no name of a random stream is used by both."""
    root = Path(__file__).resolve().parents[2] / "custom"
    words = {}
    for name, other in (("corruption", "synthetic"), ("synthetic", "corruption")):
        words[name] = set()
        for path in (root / name).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    assert other not in (node.module or ""), f"{path} imports {node.module}"
                if isinstance(node, ast.Import):
                    assert not any(other in alias.name for alias in node.names), path
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("derive_seed", "generator_for"):
                    words[name] |= {part.value for part in node.args if isinstance(part, ast.Constant)}
    assert not words["corruption"] & words["synthetic"]
    assert words["synthetic"]
