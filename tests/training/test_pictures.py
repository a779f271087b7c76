# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from matplotlib.image import imread

from custom.training import pictures
from custom.training.pictures import ValidationPictures


def _run(folder, output, epochs=2, is_main=True):
    tracked = []
    tracking = SimpleNamespace(picture=tracked.append)
    run_folder = SimpleNamespace(
        folder=folder, is_main=is_main, tracking=tracking, model=SimpleNamespace(method="ddpm")
    )
    validator = Engine(lambda *_: output)
    ValidationPictures(run_folder).attach(validator)
    for epoch in range(1, epochs + 1):
        validator.state.epoch, validator.state.max_epochs = epoch - 1, epoch
        validator.state.iteration = 0
        validator.run(range(3), max_epochs=epoch)
    return tracked


def _item(channels=(1, 1, 1)):
    shapes = zip(("image", "pred", "label"), channels, strict=True)
    return {key: torch.rand(count, 12, 10) for key, count in shapes}


@pytest.mark.parametrize(
    "output",
    [
        [_item() for _ in range(6)],  # MONAI takes batches apart unless it is told not to
        {key: torch.rand(6, 1, 12, 10) for key in ("image", "pred", "label")},
        [_item((3, 2, 3))] * 2,  # slabs, residual and mask of a restoration
    ],
)
def test_the_first_batch_of_each_validation_is_drawn_and_tracked(tmp_path, output):
    tracked = _run(tmp_path, output)
    assert tracked == [tmp_path / "pictures/epoch_00001.png", tmp_path / "pictures/epoch_00002.png"]
    picture = imread(tracked[0])
    rows = min(4, len(output) if isinstance(output, list) else 6)
    assert picture.shape[0] == pytest.approx(150 * (1.6 * rows + 0.4), abs=2)
    assert picture[..., :3].std() > 0.1


@pytest.mark.parametrize("output", [None, {"pred": torch.rand(2, 128)}, {"loss": torch.tensor(1.0)}, [{"image": "x"}]])
def test_a_method_without_such_pictures_draws_none(tmp_path, output):
    assert _run(tmp_path, output) == []
    assert not (tmp_path / "pictures").exists()


def test_the_columns_are_named_once(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: drawn.append(figure))
    _run(tmp_path, [_item(), _item()], epochs=1)
    assert [ax.get_title() for ax in drawn[0].axes] == [*pictures._COLUMNS, "", "", "", ""]


def test_only_the_first_process_draws(tmp_path):
    assert _run(tmp_path, [_item()], is_main=False) == []
