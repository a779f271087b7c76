# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers: what happens around the iterations of a trainer or an evaluator; import them from their modules."""
