# SPDX-License-Identifier: Apache-2.0
"""A synthetic cohort of brain scans, made on the spot: healthy subjects and four kinds of patients, T1 and T2.

Nothing is downloaded and no person was scanned: brains are deformed and refolded versions of the ICBM152 average that
nilearn carries. See :func:`make_demo_cohort` for the files and :func:`make_subject` for the arrays.
"""

from .cohort import CohortSize, make_demo_cohort
from .subject import make_subject

__all__ = ["CohortSize", "make_demo_cohort", "make_subject"]
