# SPDX-License-Identifier: Apache-2.0
"""Data sets on disk: declarations, lists, folds, audits, prepared cases and their cache."""
