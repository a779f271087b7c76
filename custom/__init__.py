# SPDX-License-Identifier: Apache-2.0
"""Unsupervised anomaly detection in brain MRI: the parts that the bundles in ``bundles/`` put together, and the command ``uad``.

Parts that know nothing of each other (``noise``, ``scoring``, ``postprocessing``, ``metrics``, ``models``, ...) reach training,
reconstruction, evaluation and prediction as objects that a bundle's JSON names. CONTRIBUTING.md has the map.
"""

__version__ = "0.1.0"
