# SPDX-License-Identifier: Apache-2.0
"""The benchmark matrix: methods x contrasts x folds from one file to tables, figures and tracked runs.

``spec`` reads the file, ``plan`` turns it into jobs and refuses what cannot work, ``jobs`` and ``runner`` carry one job
out, ``engine`` hands jobs to this machine or to Dask, ``results`` reads what was found, ``tables``, ``figures`` and
``reproduction`` show it. Nothing is imported here: ``python -m custom.benchmark.runner`` must start at once.
"""
