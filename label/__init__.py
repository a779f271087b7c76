# SPDX-License-Identifier: Apache-2.0
"""Serve releases by MONAI Label on this machine, and check such a server with phantoms; from a checkout only."""
