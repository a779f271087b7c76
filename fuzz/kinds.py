# SPDX-License-Identifier: Apache-2.0
"""Every kind of file that this package writes and reads again, see :mod:`file_kind`."""

import kinds_data
import kinds_models
import kinds_results

KINDS = (*kinds_data.KINDS, *kinds_models.KINDS, *kinds_results.KINDS)
