# SPDX-License-Identifier: Apache-2.0
"""Read and write scans of every format, and move them between grids."""
