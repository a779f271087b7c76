# SPDX-License-Identifier: Apache-2.0
"""What a training will take is known before it takes it."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import DiffusionModelUNet

import custom.training.forecast as forecasting
from custom.core.errors import ResourceError
from custom.core.resources import resource
from custom.training.forecast import TimeForecast, forecast, foresee
from custom.training.inferer import PlainTrainingInferer
from custom.training.micro_batches import MicroBatchStep

pytestmark = [
    pytest.mark.fault(
        84,
        "a training larger than the memory",
        "refused before it starts, with the batch size that fits and the small preset",
        "unrecorded",
    ),
    pytest.mark.fault(103),
]


class _Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(4, 1, 3, padding=1)
        )

    def forward(self, x):
        return self.layers(x)


def test_kept_tensors_are_those_of_the_backward_pass():
    """By hand: the input, both sides of the activation; views and parameters count nothing of their own."""
    found = forecast(_Net(), (torch.zeros(5, 1, 8, 6),), {})
    assert found.parameters == 4 * 9 + 4 + 4 * 9 + 1
    assert found.batch == 5
    assert found.sample_bytes == pytest.approx(1.25 * 4 * 8 * 6 * (1 + 4 + 4))
    assert found.fixed_bytes == 6 * 4 * found.parameters


def test_nothing_of_the_network_changes_and_large_batches_cost_nothing():
    network = _Net()
    before = copy.deepcopy(network.state_dict())
    small = forecast(network, (torch.zeros(1, 1, 64, 64),), {})
    large = forecast(network, (torch.zeros(1, 1, 64, 64).expand(100_000, 1, 64, 64),), {})  # 16 GB if it were computed
    assert large.sample_bytes == pytest.approx(small.sample_bytes)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.device.type == "cpu" and parameter.grad is None for parameter in network.parameters())


def test_diffusion_network_in_full_size_needs_what_was_measured():
    """34.5 million parameters, batch 32: 20.6 GiB on a CPU."""
    network = DiffusionModelUNet(
        spatial_dims=2, in_channels=1, out_channels=1, channels=[128, 256, 256], num_res_blocks=3, attention_levels=[False] * 3,
        num_head_channels=64, norm_num_groups=32, resblock_updown=True,
    )  # fmt: skip
    found = forecast(network, (torch.zeros(32, 1, 96, 96), torch.zeros(32)), {})
    assert found.parameters == 34_493_313
    assert found.bytes / 2**30 == pytest.approx(20.6, rel=0.15)


@pytest.fixture
def training():
    network = _Net()
    batch = {"image": torch.zeros(8, 1, 32, 32)}

    def prepare(batch, device, non_blocking):
        return batch["image"], batch["image"], (), {}

    return network, [batch], prepare, PlainTrainingInferer(), "cpu"


@pytest.fixture
def small_preset(tmp_path):
    path = tmp_path / "small.json"
    path.write_text("{}")
    return path


def test_a_training_that_does_not_fit_is_refused_with_what_would(training, small_preset, monkeypatch, capsys):
    need = foresee(*training)
    assert "0.0 million parameters, batches of 8 slices: about" in capsys.readouterr().err
    monkeypatch.setattr(
        forecasting, "free_bytes", lambda device: (need.fixed_bytes * 4 / 6 + 3.5 * need.sample_bytes) / 0.95
    )
    with pytest.raises(ResourceError, match=r"take --batch_size 3 .*--preset small;") as caught:
        foresee(*training, small_preset=small_preset)
    assert caught.value.exit_code == 1
    with pytest.raises(ResourceError, match=r"take --micro_batch_size 3 \(the same training in smaller pieces\)"):
        foresee(*training, step=MicroBatchStep(4))
    assert foresee(*training, step=MicroBatchStep(2)).bytes < need.bytes
    assert "batches of 8 slices, 2 at a time: about" in capsys.readouterr().err
    monkeypatch.setattr(forecasting, "free_bytes", lambda device: 0.0)
    with pytest.raises(ResourceError, match=r"0.0 GiB are free; the small preset"):
        foresee(*training, small_preset=small_preset)


def test_the_small_preset_is_named_before_a_large_network_is_trained_on_a_cpu(
    training, small_preset, monkeypatch, capsys
):
    foresee(*training, small_preset=small_preset)
    assert "--preset" not in capsys.readouterr().err
    monkeypatch.setattr(forecasting, "_MANY_FOR_A_CPU", 0)
    foresee(*training, small_preset=small_preset)
    assert "--preset small" in capsys.readouterr().err


def test_no_preset_is_named_of_a_bundle_that_has_none(training, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forecasting, "_MANY_FOR_A_CPU", 0)
    foresee(*training, small_preset=tmp_path / "small.json")
    monkeypatch.setattr(forecasting, "free_bytes", lambda device: 0.0)
    with pytest.raises(ResourceError, match=r"are free; a smaller network, or a GPU") as caught:
        foresee(*training, small_preset=tmp_path / "small.json")
    assert "preset" not in str(caught.value) + capsys.readouterr().err


@pytest.mark.parametrize(
    ("configuration", "preset"),
    [("restoration/configs/train", None), ("ddpm_ssim_ens/configs/train", "small"), ("cddpm/configs/spark_pretraining", "small_pretraining")],
)  # fmt: skip
def test_bundles_name_the_small_preset_that_they_have(configuration, preset):
    parser = ConfigParser(json.loads(resource(f"bundles/{configuration}.json").read_text(encoding="utf-8")))
    path = Path(parser.get_parsed_content("memory::small_preset"))
    assert (path.stem if path.is_file() else None) == preset


def test_half_precision_keeps_half(training):
    half = (*training[:3], PlainTrainingInferer("bf16"), "cpu")
    assert foresee(*half).sample_bytes == foresee(*training).sample_bytes / 2


def test_the_network_is_not_run_and_its_hook_is_gone(training):
    network = training[0]
    calls = []
    network.layers[0].register_forward_hook(lambda module, inputs, output: calls.append(output.device.type))
    foresee(*training)
    assert calls == ["meta"]
    network(torch.zeros(1, 1, 4, 4))
    assert calls == ["meta", "cpu"]


def test_a_network_that_needs_numbers_is_let_through(training):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x * float(x.sum())

    assert foresee(Odd(), *training[1:]) is None


def test_time_of_all_steps_is_said_once_after_the_second(capsys):
    engine = SimpleNamespace(
        state=SimpleNamespace(max_epochs=100, epoch_length=10, iteration=0, device=torch.device("cpu"))
    )
    handler = TimeForecast()
    for iteration in range(1, 5):
        engine.state.iteration = iteration
        handler._start(engine)
        handler._end(engine)
    assert capsys.readouterr().err.count("s a step, 998 steps to go") == 1
    engine.state.iteration = 2
    assert handler.words(36.0, engine) == "36.00 s a step, 998 steps to go: about 10.0 h without validation"
    assert handler.words(360.0, engine).endswith("; on a CPU, take a smaller network or fewer --max_epochs")
