# SPDX-License-Identifier: Apache-2.0
"""From a scan to its pseudo-healthy reconstruction: slice by slice, with partial diffusion, from a cache."""
