# SPDX-License-Identifier: Apache-2.0
"""Unsupervised anomaly detection in brain MRI: the reusable parts that the bundles in ``bundles/`` put together.

The package knows MONAI and torch and no bundle. ``data``, ``noise``, ``networks``, ``schedulers``, ``scoring``,
``postprocessing`` and ``metrics`` are leaves; ``engines``, ``inferers``, ``transforms`` and ``handlers`` receive
them as callables from the JSON configuration.
"""

__version__ = "0.1.0"
