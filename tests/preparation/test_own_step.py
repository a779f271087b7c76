# SPDX-License-Identifier: Apache-2.0
"""A preparation step of one's own, as CONTRIBUTING.md describes it: one file, one line of JSON."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser

import custom.preparation
from custom.core.description import build, describe
from custom.preparation.prepare import preparation
from custom.preparation.subject import Subject

STEP = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine:
    power: float = 1.0

    def __call__(self, subject):
        return subject.replaced(image=subject.image**self.power, record={**subject.record, "power": self.power})
"""


@pytest.fixture
def own_step(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(STEP, encoding="utf-8")
    monkeypatch.setattr(custom.preparation, "__path__", [*custom.preparation.__path__, str(tmp_path)])
    yield importlib.import_module("custom.preparation.mine")
    del sys.modules["custom.preparation.mine"], custom.preparation.mine


def test_the_recipe_holds(own_step):
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    line = json.loads("{" + re.search(r'"preparation_mine": \{.*\}', page).group() + "}")
    mine = ConfigParser(line).get_parsed_content("preparation_mine")
    kept = build(json.loads(json.dumps(describe(mine))))  # as the model's file keeps it
    assert kept == mine
    assert kept.digest() != preparation("standard").digest()

    mask = np.zeros((96, 96, 50), np.uint8)
    mask[15:80, 10:85, 5:45] = 1
    image = mask * np.random.default_rng(0).uniform(1, 2, mask.shape).astype(np.float32)
    prepared = kept(Subject("a", image, np.diag([2.0, 2.0, 2.0, 1.0]), mask=mask, registered=True))
    assert prepared.record["power"] == 2
    assert prepared.intensity_range == pytest.approx(np.percentile(image[mask == 1] ** 2, (1, 99)), rel=1e-3)
