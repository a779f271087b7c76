# SPDX-License-Identifier: Apache-2.0
"""Data: split lists and their audit, checked reading of scans, the papers' preparation, cache, slice data sets."""
