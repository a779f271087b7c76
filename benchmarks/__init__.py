# SPDX-License-Identifier: Apache-2.0
"""Side-by-side timings and numerical agreement with public packages; ``python benchmarks/run.py``."""
