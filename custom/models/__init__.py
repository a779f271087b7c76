# SPDX-License-Identifier: Apache-2.0
"""Networks that MONAI does not have, noise schedulers, number formats, files of weights."""
