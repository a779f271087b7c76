# SPDX-License-Identifier: Apache-2.0
"""Objects as JSON and back: what a model is made of, written so that a file can hold it and no text is ever run.

:func:`describe` turns a *part* into JSON values, :func:`build` makes the part again. Parts are

* JSON values themselves, lists of parts, and dictionaries of parts;
* frozen dataclasses of this package, by their class and all of their fields (noise, preparation, patches, ...);
* network classes, scheduler classes and scoring functions, alone or with keyword arguments (``functools.partial``),
  which is what MONAI's ``"_mode_": "callable"`` makes of a component.

The JSON looks like a component of a MONAI configuration (``_target_``, ``_mode_``), but it never meets MONAI's parser:
no ``$``, ``@`` or ``%`` in a string means anything, ``_target_`` must name a class or function of ``custom``,
``monai.networks`` or ``torch.nn`` that may be a part, and nothing is called but constructors of dataclasses.
"""

import dataclasses
import functools
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .errors import ConfigError

TARGET, MODE, CALLABLE = "_target_", "_mode_", "callable"
_PACKAGES = ("custom", "monai.networks", "torch.nn")
_FUNCTIONS = ("custom.scoring", "custom.noise", "custom.corruption", "custom.postprocessing")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_MAX_DEPTH = 32


def describe(part: Any) -> Any:
    """Return ``part`` as JSON values.

    Raises:
        ConfigError: something in it cannot be described, for example a tensor or a lambda.

    >>> from custom.noise import GridPatches
    >>> describe(GridPatches(48))
    {'_target_': 'custom.noise.GridPatches', 'patch_px': 48, 'stride_px': None}
    >>> build(describe(GridPatches(48))) == GridPatches(48)
    True
    """
    if part is None or isinstance(part, (bool, str)) or type(part) is int:
        return part
    if isinstance(part, float) and math.isfinite(part):
        return float(part)
    if isinstance(part, (list, tuple)):
        return [describe(item) for item in part]
    if isinstance(part, Mapping):
        wrong = [key for key in part if not isinstance(key, str) or key in (TARGET, MODE)]
        if wrong:
            raise ConfigError(f"a description's keys are words other than {TARGET} and {MODE}, got {wrong[0]!r}.")
        return {key: describe(item) for key, item in part.items()}
    if dataclasses.is_dataclass(part) and not isinstance(part, type) and _is_part(type(part)):
        fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part) if field.init}
        return {TARGET: _path_of(type(part)), **{name: describe(value) for name, value in fields.items()}}
    if isinstance(part, functools.partial) and not part.args and _is_callable_part(part.func):
        return {TARGET: _path_of(part.func), MODE: CALLABLE, **{key: describe(v) for key, v in part.keywords.items()}}
    if _is_callable_part(part):
        return {TARGET: _path_of(part), MODE: CALLABLE}
    raise ConfigError(
        f"{type(part).__name__} {str(part)[:80]!r} cannot be written into a model's description: use JSON values, frozen "
        'dataclasses of custom, or a network, scheduler or scoring function with "_mode_": "callable" and keyword arguments.'
    )


def build(description: Any) -> Any:
    """Return the part that :func:`describe` wrote; lists stay lists.

    Raises:
        ConfigError: an unknown ``_target_``, one that may not be a part, or arguments that it does not take.
    """
    return _build(description, 0)


def _build(description: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ConfigError(
            f"the description is nested more than {_MAX_DEPTH} levels deep; it was not written by this package."
        )
    if isinstance(description, list):
        return [_build(item, depth + 1) for item in description]
    if not isinstance(description, Mapping):
        return description
    if TARGET not in description:
        return {key: _build(item, depth + 1) for key, item in description.items()}
    target, mode = _located(description[TARGET]), description.get(MODE)
    arguments = {key: _build(v, depth + 1) for key, v in description.items() if key not in (TARGET, MODE)}
    if mode == CALLABLE and _is_callable_part(target):
        _check_arguments(target, arguments, description[TARGET], whole=False)
        return functools.partial(target, **arguments) if arguments else target
    if mode is None and _is_part(target):
        _check_arguments(target, arguments, description[TARGET], whole=True)
        return target(**arguments)
    raise ConfigError(f"{description[TARGET]} (mode {mode!r}) may not be part of a model.")


def _located(path: Any) -> Any:
    if not isinstance(path, str) or not _PATH.fullmatch(path) or not path.startswith(tuple(f"{p}." for p in _PACKAGES)):
        raise ConfigError(f"{str(path)[:120]!r} may not be part of a model: parts come from {', '.join(_PACKAGES)}.")
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise ConfigError(
            f"this version of the package has no {path}; use the version that the model was made with."
        ) from None


def _is_part(target: Any) -> bool:
    """Whether ``target`` is a frozen dataclass of this package."""
    if not isinstance(target, type) or not _is_within(target, ("custom",)):
        return False
    return bool(getattr(getattr(target, "__dataclass_params__", None), "frozen", False))


def _is_callable_part(target: Any) -> bool:
    """Whether ``target`` is a network class (MONAI's schedulers are modules too) or a function of the leaf packages."""
    if isinstance(target, type):
        from torch import nn  # a second that the command line does not wait for

        return issubclass(target, nn.Module) and _is_within(target, _PACKAGES)
    return inspect.isfunction(target) and _is_within(target, _FUNCTIONS)


def _is_within(target: Any, packages: tuple[str, ...]) -> bool:
    return f"{target.__module__}.".startswith(tuple(f"{package}." for package in packages))


def _check_arguments(target: Any, arguments: Mapping[str, Any], path: str, whole: bool) -> None:
    loaded = [key for key, value in arguments.items() if key.startswith("pretrained") and value]
    if loaded:
        raise ConfigError(f"{path} would load {loaded[0]} weights from elsewhere; a model's weights are its own file.")
    signature = inspect.signature(target)
    try:
        (signature.bind if whole else signature.bind_partial)(**arguments)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}; use the version that the model was made with.") from None


def _path_of(target: Callable[..., Any]) -> str:
    """Return the shortest dotted name under which ``target`` can be imported: that of the package that offers it."""
    parts = target.__module__.split(".")
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        own = f"{module}.".startswith(tuple(f"{p}." for p in _PACKAGES))
        if own and getattr(sys.modules.get(module), target.__name__, None) is target:
            return f"{module}.{target.__name__}"
    raise ConfigError(f"{target.__module__}.{target.__qualname__} cannot be imported by its name.")
