# SPDX-License-Identifier: Apache-2.0
import pytest

from custom.core.errors import ConfigError
from custom.runs.settings import require_trained_with, save_settings, trained_settings


def test_round_trip_and_resume_with_the_same_settings(tmp_path):
    settings = save_settings(tmp_path / "run", {"channels": (32, 64), "contrast": "t1"})
    assert trained_settings(tmp_path / "run") == settings == {"channels": [32, 64], "contrast": "t1"}
    save_settings(tmp_path / "run", {"channels": [32, 64], "contrast": "t1"})


def test_other_settings_are_refused_by_name(tmp_path):
    save_settings(tmp_path, {"contrast": "t1"})
    with pytest.raises(ConfigError, match="contrast was 't1' and is 't2'"):
        save_settings(tmp_path, {"contrast": "t2"})


def test_missing_model_names_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match="run the training workflow"):
        trained_settings(tmp_path)


def test_other_noise_than_in_training_is_refused():
    require_trained_with(
        {"noise": {"name": "SimplexNoise", "octaves": 6}}, noise={"name": "SimplexNoise", "octaves": 6}
    )
    require_trained_with({}, noise={"name": "GaussianNoise"})
    with pytest.raises(ConfigError, match="Give the same --noise as in training"):
        require_trained_with({"noise": {"name": "SimplexNoise"}}, noise={"name": "GaussianNoise"})
