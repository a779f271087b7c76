# SPDX-License-Identifier: Apache-2.0
"""Hand a trained model on: frozen bundles, and their service in a MONAI Label server.

Nothing is imported here: MONAI Label's environment, which lacks most of this package's dependencies, reads
:mod:`.checked` and :mod:`.for_label` only.
"""
