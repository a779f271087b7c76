# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from ignite.exceptions import NotComputableError
from sklearn.metrics import average_precision_score

from custom.corruption import LocalCorruption, ScannerVariation, changed
from custom.training.restoration import RestorationLoss, RestorationPrepareBatch
from custom.training.restoration_metric import RestorationError


def _batch(positions, epoch=3):
    positions = torch.as_tensor(positions)
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    mask[..., 4:28, 4:28] = 1
    image = torch.rand(8, 3, 32, 32, generator=generator) * mask
    foreign = torch.rand(8, 2, 3, 32, 32, generator=generator)
    rows = positions % 8
    return {
        "image": image[rows], "mask": mask[rows], "foreign": foreign[rows],
        "foreign_mask": torch.ones_like(foreign, dtype=torch.uint8)[rows], "slice": rows + 10,
        "position": positions, "epoch": torch.full((len(positions),), epoch),
    }  # fmt: skip


def _prepare(**settings):
    return RestorationPrepareBatch(
        LocalCorruption(), **{"variation": ScannerVariation(), "seed": 1, "batch_size": 8} | settings
    )


def test_two_processes_draw_what_one_draws():
    whole = _prepare()(_batch(range(8, 16)), "cpu")
    for rank in range(2):
        part = _prepare()(_batch(range(8 + rank, 16, 2)), "cpu")
        for ours, theirs in zip((part[0], part[1]), (whole[0], whole[1]), strict=True):
            torch.testing.assert_close(ours, theirs[rank::2], rtol=0, atol=0)
        for key in ("severity", "heights"):
            assert torch.equal(part[3][key], whole[3][key][rank::2])


def test_the_target_is_residual_mask_and_brain_of_the_middle_slice():
    batch = _batch(range(8))
    corrupted, target, _, arguments = _prepare(variation=None)(batch, "cpu")
    residual, mask, brain = target.unbind(1)
    torch.testing.assert_close(corrupted[:, 1] + residual, batch["image"][:, 1], atol=1e-6, rtol=0)
    assert torch.equal(mask > 0, changed(batch["image"], corrupted)[:, 1])
    assert mask.mean() > 0.02
    assert torch.equal(brain, batch["mask"][:, 1].float())
    assert torch.equal(arguments["heights"], batch["slice"])


def test_difficulty_rises_over_the_curriculum_and_is_full_in_validation():
    easy = _prepare(curriculum_epochs=10)(_batch(range(8), epoch=1), "cpu")[3]["severity"]
    later = torch.cat(
        [_prepare(curriculum_epochs=10, seed=s)(_batch(range(8), 11), "cpu")[3]["severity"] for s in range(5)]
    )
    assert easy.min() >= 0.8
    assert later.min() < 0.5
    validation = {"stage": "validation", "variation": None, "curriculum_epochs": 10}
    one, two = (_prepare(**validation)(_batch(range(8), epoch=0), "cpu") for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert one[3]["severity"].min() < 0.8


def test_loss_against_numbers_by_hand():
    target = torch.zeros(1, 3, 1, 4)
    target[0, 2] = torch.tensor([1.0, 1, 1, 0])  # the last pixel is outside
    target[0, 1, 0, 0] = 1
    target[0, 0, 0, 0] = 0.5
    prediction = torch.zeros(1, 2, 1, 4)
    prediction[0, 0, 0] = torch.tensor([0.1, 0.2, 0.0, 9.0])
    log2 = torch.tensor(2.0).log()
    expected = 5 * (7 * 0.4 + 0.2) / 3 + (2 * log2 + log2 + log2) / 3
    torch.testing.assert_close(RestorationLoss(5, 7, 2)(prediction, target), expected)


def test_metric_against_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(4, 3, 16, 16, generator=generator)
    target[:, 1:] = (target[:, 1:] > 0.6).float()
    prediction = torch.randn(4, 2, 16, 16, generator=generator)
    metric = RestorationError()
    for half in (slice(0, 2), slice(2, 4)):
        metric.update((prediction[half], target[half]))
    value = metric.compute()
    brain, mask = target[:, 2] > 0, target[:, 1] > 0
    logit, residual = prediction[:, 1][brain], prediction[:, 0][brain]
    assert metric.mask_precision == pytest.approx(average_precision_score(mask[brain], logit), abs=2e-3)
    assert metric.residual_precision == pytest.approx(average_precision_score(mask[brain], residual.abs()), abs=2e-3)
    remaining = (prediction[:, 0] - target[:, 0])[mask].abs().sum() / target[:, 0][mask].abs().sum()
    assert metric.remaining_error == pytest.approx(float(remaining), rel=1e-5)
    assert value == pytest.approx(
        (float(remaining) + 2 - metric.mask_precision - metric.residual_precision) / 3, abs=1e-6
    )
    metric.reset()
    with pytest.raises(NotComputableError):
        metric.compute()


def test_a_perfect_restoration_has_no_error():
    target = torch.rand(2, 3, 16, 16)
    target[:, 1:] = 1
    target[:, 1, :8] = 0
    target[:, 0, :8] = 0
    prediction = torch.stack([target[:, 0], target[:, 1] * 20 - 10], dim=1)
    metric = RestorationError()
    metric.update((prediction, target))
    assert metric.compute() == pytest.approx(0, abs=1e-6)
