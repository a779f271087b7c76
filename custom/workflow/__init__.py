# SPDX-License-Identifier: Apache-2.0
"""What surrounds a bundle run: checked overrides, readable errors, determinism, the settings of a trained model."""

from .settings import require_trained_with, save_settings, trained_settings
from .start import check_command, save_config, start

__all__ = ["check_command", "require_trained_with", "save_config", "save_settings", "start", "trained_settings"]
