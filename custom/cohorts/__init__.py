# SPDX-License-Identifier: Apache-2.0
"""Data sets on disk: declarations, lists, folds, the check of a data folder, prepared cases and their cache."""
