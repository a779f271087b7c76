# SPDX-License-Identifier: Apache-2.0
"""Let a list of handlers in JSON name one that stands elsewhere."""

from typing import TypeVar

Handler = TypeVar("Handler")


def use(handler: Handler) -> Handler:
    """Return ``handler``.

    MONAI's ``check_properties`` reads ``_target_`` of every entry of ``train::handlers``, so a bare ``@reference`` there
    would break it.
    """
    return handler
