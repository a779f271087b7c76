# SPDX-License-Identifier: Apache-2.0
"""The steps that a scan needs which comes from the scanner: extraction, bias field, registration.

:func:`for_raw_scans` puts them into a model's preparation. Scans that are prepared already pass through untouched: a
given mask or an extracted brain is kept, and what lies in the training scans' space is not registered again.
"""

import dataclasses

from ..core.errors import ConfigError
from .bias_field import CorrectBias
from .brain import BrainMask
from .brain_extraction import ExtractBrain
from .prepare import Preparation
from .registration_step import COHORT_SCALE, RegisterToTemplate, centre_of
from .subject import Step

BIAS_FIELD = ("n4", "none")
REGISTER = ("auto", "always", "never")


def raw_steps(
    extractor: str = "auto", bias_field: str = "n4", register: str = "auto", scale: float = COHORT_SCALE
) -> tuple[Step, ...]:
    """Return extraction, bias correction and registration, in this order.

    Args:
        extractor, scale: of :class:`.brain_extraction.ExtractBrain`, of :class:`.registration_step.RegisterToTemplate`.
        bias_field: "n4" or "none".
        register: "auto" (heads that an extractor was needed for), "always" (every scan that does not lie in the training
            scans' space) or "never".
    """
    for name, value, choices in (("bias_field", bias_field, BIAS_FIELD), ("register", register, REGISTER)):
        if value not in choices:
            raise ConfigError(f"{name} {value!r} is unknown; choose one of {', '.join(choices)}")
    steps: list[Step] = [ExtractBrain(extractor)]
    if bias_field == "n4":
        steps.append(CorrectBias())
    if register != "never":
        steps.append(RegisterToTemplate(scale, centre_of(scale), also_extracted=register == "always"))
    return tuple(steps)


def for_raw_scans(
    preparation: Preparation,
    extractor: str = "auto",
    bias_field: str = "n4",
    register: str = "auto",
) -> Preparation:
    """Return a model's preparation with extraction and bias correction before its brain mask and registration after it.

    Scans are registered to the space whose scale the preparation holds (``template_scale``).
    """
    own = {type(step) for step in preparation.steps}
    steps = [
        step for step in raw_steps(extractor, bias_field, register, preparation.template_scale) if type(step) not in own
    ]
    moving = [step for step in steps if isinstance(step, RegisterToTemplate)]
    still = [step for step in steps if step not in moving]
    whole: list[Step] = []
    for step in preparation.steps:
        if isinstance(step, BrainMask):
            whole += [*still, step, *moving]
        else:
            whole.append(step)
    return dataclasses.replace(preparation, steps=tuple(whole))
