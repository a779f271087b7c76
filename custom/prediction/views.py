# SPDX-License-Identifier: Apache-2.0
"""Which side of a picture the patient's left is on."""

from typing import Literal

View = Literal["neurological", "radiological"]
VIEWS = ("neurological", "radiological")
