# SPDX-License-Identifier: Apache-2.0
"""What a configuration may name: an allow-list, because everything else could be code of someone else's choosing.

Names are resolved by importing installed, trusted packages only, and only below the listed prefixes. A name counts
by the place where the object is defined, so a module's own imports (``custom.data.cache.os.system``) are no way out.
"""

import ast
import importlib
import re
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

IMPORTS = frozenset({"torch", "monai", "numpy", "math", "custom"})  # roots that "$import" may name
DEFAULT_NAMES = {"torch": "torch", "monai": "monai", "numpy": "numpy", "np": "numpy"}  # MONAI gives them to expressions
BUILTINS = frozenset(
    {
        *("abs", "all", "any", "bool", "dict", "enumerate", "float", "int", "isinstance", "len", "list", "max", "min"),
        *("range", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "zip"),
    }
)
_ATTRIBUTES = frozenset(  # of values: of references, of lambda arguments, of results
    {
        *("to", "cpu", "cuda", "device", "type", "dtype", "shape", "size", "ndim", "numel", "item", "float", "detach"),
        *("parameters", "state_dict", "load_state_dict", "eval", "train", "run", "module", "transforms"),
        *(
            "state",
            "output",
            "batch",
            "epoch",
            "iteration",
            "metrics",
            "best_metric",
            "optimizer",
            "network",
            "dataset",
        ),
        *("keys", "values", "items", "get", "copy", "index", "count", "mean", "sum", "min", "max", "abs"),
        *("startswith", "endswith", "lower", "upper", "split", "join", "strip"),
    }
)
_DANGEROUS = re.compile(  # names that other libraries give to what writes, loads, evaluates or leads to their insides
    r"_.*|write.*|save.*|load.*|open.*|dump.*|to_.*|tofile|format.*|exec.*|system|popen|spawn.*|unlink|rmdir|rename"
    r"|replace|remove|delete.*|touch|mkdir|symlink.*|hardlink.*|chmod|globals|locals|builtins|modules|mro|import.*|func|logger|manager"
    r"|root|handlers|(gi|cr|ag|tb|co|f)_.*"
)
_EXACT = frozenset(
    {
        *(
            f"torch.{name}"
            for name in ("device", "float16", "float32", "float64", "bfloat16", "uint8", "int64", "Tensor")
        ),
        *(
            f"torch.{name}"
            for name in ("tensor", "as_tensor", "zeros", "zeros_like", "sigmoid", "softmax", "nn.DataParallel")
        ),
        *("torch.cuda.is_available", "torch.cuda.device_count", "torch.cuda.current_device", "torch.cuda.set_device"),
        *("torch.backends.mps.is_available", "torch.distributed.is_available", "torch.distributed.is_initialized"),
        *("torch.distributed.init_process_group", "torch.distributed.destroy_process_group"),
        *("torch.distributed.get_rank", "torch.distributed.get_world_size", "torch.set_num_threads"),
        *("torch.nn.parallel.DistributedDataParallel", "torch.nn.SyncBatchNorm.convert_sync_batchnorm"),
        *(
            f"torch.utils.data.{name}"
            for name in ("DataLoader", "Dataset", "Subset", "ConcatDataset", "DistributedSampler")
        ),
        *(f"numpy.{name}" for name in ("array", "arange", "linspace", "float32", "uint8", "int64", "inf", "nan", "pi")),
        *(f"math.{name}" for name in ("ceil", "floor", "sqrt", "log", "exp", "pi", "inf")),
        *("monai.utils.set_determinism", "monai.utils.misc.set_determinism"),
        *("monai.handlers.utils.from_engine", "monai.handlers.from_engine", "monai.data.utils.list_data_collate"),
        *("ignite.handlers.EMAHandler", "ignite.handlers.EarlyStopping", "ignite.handlers.TerminateOnNan"),
        "custom.tracking.default_uri",
    }
)
_CLASSES_BELOW = (  # only classes: functions of these packages download, load or write files
    *(f"torch.{name}" for name in ("nn", "optim", "amp")),
    *(f"monai.{name}" for name in ("networks", "losses", "transforms", "data", "engines", "handlers", "inferers")),
    *(f"monai.{name}" for name in ("metrics", "optimizers", "visualize")),
    "ignite.metrics",
)
_ANY_BELOW = tuple(  # functions and classes of this package that configurations are made of
    f"custom.{name}"
    for name in (
        *("augmentation", "engines", "evaluation", "handlers", "inferers", "metrics", "networks", "noise"),
        *("postprocessing", "schedulers", "scoring", "transforms", "workflow", "scans", "report"),
        *("data.cases", "data.dataset", "data.prepare", "data.sampler", "data.gate"),
        *("release.checked", "release.for_label"),
    )
)
_NEVER = frozenset({"NumpyReader", "LMDBDataset", "write_text", "MLFlowHandler"})


def allowed_target(dotted: str) -> str | None:
    """Return why a dotted name may not be used, or None if it may.

    >>> allowed_target("torch.nn.L1Loss") is None, allowed_target("os.system") is None
    (True, False)
    """
    parts = dotted.split(".")
    if not all(part.isidentifier() for part in parts) or any(part.startswith("_") for part in parts):
        return "is not a plain public name"
    if parts[-1] in _NEVER:
        return "can load code, write files of its choice or send data elsewhere"
    if dotted in _EXACT or (parts[0] == "builtins" and len(parts) == 2 and parts[1] in BUILTINS):
        return None
    if not _below(dotted, _CLASSES_BELOW + _ANY_BELOW):
        return "is not on the list of allowed names"
    found, own = _resolve(parts)
    if found is None or not own:
        return "is not defined where its name says" if found is not None else "does not exist"
    home = str(getattr(found, "__module__", None) or "")
    if isinstance(found, ModuleType) or not callable(found):
        return "is no class or function"
    if _below(home, _ANY_BELOW) and _below(dotted, _ANY_BELOW):
        return None
    if _below(home, _CLASSES_BELOW) and _below(dotted, _CLASSES_BELOW):
        return None if isinstance(found, type) else "is a function; only classes of this package are allowed"
    return f"belongs to {home or 'an unknown module'}"


def short_name_target(name: str) -> str:
    """Return the dotted name that MONAI finds for a name without dots (``SupervisedTrainer``)."""
    for package in ("monai.engines", "monai.handlers", "monai.transforms", "monai.data", "monai.inferers"):
        found = getattr(importlib.import_module(package), name, None)
        if isinstance(found, type):
            return f"{found.__module__}.{name}"
    modules = _locator().get_component_module_name(name)
    module = modules[0] if isinstance(modules, list) and modules else modules
    return f"{module}.{name}" if module else name


@lru_cache(maxsize=1)
def _locator() -> Any:
    from monai.bundle.config_item import ComponentLocator

    return ComponentLocator()  # imports all of MONAI


@lru_cache(maxsize=1)
def allowed_attributes() -> frozenset[str]:
    """Return the attributes that an expression may read: some of torch, MONAI and Python, and those of our own classes.

    The own ones are read off the source: public methods and fields, unless other libraries give their name to
    something that writes, loads or evaluates.
    """
    own: set[str] = set()
    for path in Path(__file__).resolve().parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                own |= {entry.name for entry in node.body if isinstance(entry, ast.FunctionDef)}
                own |= {entry.target.id for entry in node.body if _is_field(entry)}  # type: ignore[attr-defined]
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
                own.add(node.attr)
    return _ATTRIBUTES | {name for name in own if not _DANGEROUS.fullmatch(name)}


def _is_field(node: ast.AST) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _below(dotted: str, prefixes: tuple[str, ...]) -> bool:
    return any(dotted == prefix or dotted.startswith(prefix + ".") for prefix in prefixes)


def _resolve(parts: list[str]) -> tuple[Any, bool]:
    """Return the object and whether every module on the way is really a part of the one before."""
    found: Any = None
    for depth, part in enumerate(parts):
        if depth == 0 or isinstance(found, ModuleType):
            name = ".".join(parts[: depth + 1])
            found = getattr(found, part, None) if depth else None
            if found is None:
                try:
                    found = importlib.import_module(name)
                except Exception:  # whatever a broken optional dependency raises: the name cannot be used
                    return None, False
            if isinstance(found, ModuleType) and found.__name__ != name:
                return found, False
        else:
            found = getattr(found, part, None)
    return found, True
