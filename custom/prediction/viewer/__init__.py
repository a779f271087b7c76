# SPDX-License-Identifier: Apache-2.0
"""The interactive part of a report: NiiVue (BSD-2, see LICENSE.txt here) and what this package gives it."""
