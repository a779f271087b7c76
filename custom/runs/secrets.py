# SPDX-License-Identifier: Apache-2.0
"""Passwords and tokens in addresses go to the server and nowhere else: not into files, logs or messages."""

import re
from typing import Any

_HIDDEN = "***"
_CREDENTIALS = re.compile(r"(?<=://)(?:[^\s/@'\"]*:[^\s@'\"]*|[^\s/'\"]*)@")
_TOKEN = re.compile(
    r"(?i)([?&;](?:[a-z_-]*(?:token|password|passwd|pwd|secret|signature|apikey|api_key|credential)|key|sig|auth)=)[^&#;\s'\"]+"
)


def without_secrets(value: Any) -> Any:
    """Return text, or JSON values with texts in them, with user, password and tokens cut from every address.

    >>> without_secrets("no answer from http://alice:pw@host:5000/mlflow?token=abc&page=1")
    'no answer from http://***@host:5000/mlflow?token=***&page=1'
    """
    if isinstance(value, str):
        return _TOKEN.sub(rf"\g<1>{_HIDDEN}", _CREDENTIALS.sub(f"{_HIDDEN}@", value))
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    return value
