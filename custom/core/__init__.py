# SPDX-License-Identifier: Apache-2.0
"""Errors with exit codes, files that are whole or absent, seeds by name, progress lines."""
