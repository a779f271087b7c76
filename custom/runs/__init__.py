# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: its settings, lock, record, tracking and progress."""
