# SPDX-License-Identifier: Apache-2.0
"""From a scan to the grid that a model works on, in named steps."""
