# SPDX-License-Identifier: Apache-2.0
"""Judge one ``$`` expression of a bundle without running it.

MONAI replaces references (``@id``) by ``__local_refs['id']`` and hands the text to ``eval``. The same replacement is
made here by MONAI's own function, the result is parsed, and every node must be of an allowed kind.
"""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from .allowed import BUILTINS, DEFAULT_NAMES, IMPORTS, allowed_attributes, allowed_target

MAX_CHARACTERS = 2_000
_MAX_POWER = 64
_REFS = "__local_refs"
_NODES = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Call, ast.keyword, ast.Subscript),
    *(
        ast.Slice,
        ast.List,
        ast.Tuple,
        ast.Dict,
        ast.Set,
        ast.Starred,
        ast.BoolOp,
        ast.And,
        ast.Or,
        ast.UnaryOp,
        ast.Not,
    ),
    *(ast.USub, ast.UAdd, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.Compare),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.NotIn, ast.IfExp, ast.Lambda),
    *(ast.arguments, ast.arg, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension),
    *(ast.JoinedStr, ast.FormattedValue),
)


def import_names(text: str) -> dict[str, str] | None:
    """Return alias -> dotted name of an import statement, None if the text is none; ``{"": reason}`` if refused."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not body or not isinstance(body[0], (ast.Import, ast.ImportFrom)):
        return None
    if len(body) > 1 or len(body[0].names) > 1:
        return {"": "one import of one name at a time"}
    statement, name = body[0], body[0].names[0]
    if isinstance(statement, ast.ImportFrom):
        dotted = f"{statement.module or ''}.{name.name}"
        reason = "relative import" if statement.level else allowed_target(dotted)
        return {"": f"{dotted} {reason}"} if reason else {name.asname or name.name: dotted}
    if name.name not in IMPORTS and not (name.name.split(".")[0] in {"custom", "monai"} and name.asname is None):
        return {"": f"{name.name} may not be imported"}
    return {name.asname or name.name.split(".")[0]: name.name if name.asname else name.name.split(".")[0]}


def expression_faults(text: str, names: Mapping[str, str], import_ids: frozenset[str]) -> Iterator[str]:
    """Yield why an expression (without ``$``) is refused.

    Args:
        text: the expression.
        names: imported alias -> dotted name.
        import_ids: ids of the configuration that hold modules; references to them are refused.
    """
    from monai.bundle.reference_resolver import ReferenceResolver

    if len(text) > MAX_CHARACTERS:
        yield f"is longer than {MAX_CHARACTERS} characters"
        return
    ids = ReferenceResolver.match_refs_pattern(f"${text}")
    for reference in ids:
        yield from reference_faults(reference, import_ids)
    replaced = ReferenceResolver.update_refs_pattern(f"${text}", dict.fromkeys(ids, ""))[1:]
    try:
        tree = ast.parse(replaced, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield "cannot be parsed"
        return
    yield from _Judge({**DEFAULT_NAMES, **names}, import_ids).faults(tree)


def reference_faults(reference: str, import_ids: frozenset[str]) -> Iterator[str]:
    """Yield why a reference (without ``@``) is refused."""
    if not reference or reference.startswith(":") or "#" in reference:
        yield f"the reference '@{reference}' has no absolute id"
    elif any(
        (own + "::").startswith(reference + "::") or (reference + "::").startswith(own + "::") for own in import_ids
    ):
        yield f"the reference '@{reference}' leads to an imported module"
    elif any(part.startswith("__") for part in reference.split("::")):
        yield f"the reference '@{reference}' reaches a private name"


class _Judge:
    def __init__(self, modules: Mapping[str, str], import_ids: frozenset[str]) -> None:
        self._modules, self._import_ids = modules, import_ids

    def faults(self, tree: ast.AST) -> Iterator[str]:
        local = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        local |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        if hidden := local & ({_REFS} | set(self._modules) | BUILTINS | {"vars", "type"}):
            yield f"gives {', '.join(sorted(hidden))} another meaning"
            return
        self._local = local
        try:
            yield from self._visit(tree, None)
        except RecursionError:
            yield "is nested too deeply"

    def _visit(self, node: ast.AST, parent: ast.AST | None) -> Iterator[str]:
        if not isinstance(node, _NODES):
            yield f"contains {type(node).__name__}"
            return
        if isinstance(node, (ast.Name, ast.Attribute)) and (dotted := self._dotted(node)) is not None:
            if reason := allowed_target(dotted):
                yield f"{dotted} {reason}"
            return
        if isinstance(node, ast.Name):
            yield from self._name(node, parent)
        elif isinstance(node, ast.Attribute) and _is_type_name(node):
            yield from self._visit(node.value.args[0], node)  # type: ignore[attr-defined]
            return
        elif isinstance(node, ast.Attribute) and node.attr not in allowed_attributes():
            yield f"the attribute .{node.attr} is not on the list of allowed ones"
        elif isinstance(node, ast.Call):
            yield from self._call(node, parent)
        elif _is_reference(node):
            yield from self._reference(node)
            return
        elif isinstance(node, ast.Subscript) and _hidden_key(node.slice):
            yield "reads a private entry"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _small_power(node):
            yield f"raises to a power above {_MAX_POWER}"
        for child in ast.iter_child_nodes(node):
            yield from self._visit(child, node)

    def _reference(self, node: Any) -> Iterator[str]:
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            yield from reference_faults(node.slice.value, self._import_ids)
        else:
            yield "computes a reference"

    def _name(self, node: ast.Name, parent: ast.AST | None) -> Iterator[str]:
        if node.id == _REFS:
            if not isinstance(parent, ast.Subscript) or parent.value is not node:
                yield "uses the table of references as a whole"
        elif node.id == "vars":
            if not isinstance(parent, ast.Call) or parent.func is not node:
                yield "hands on vars"
        elif node.id not in self._local and node.id not in BUILTINS:
            yield f"the name {node.id} is not allowed"

    def _call(self, node: ast.Call, parent: ast.AST | None) -> Iterator[str]:
        if not isinstance(node.func, (ast.Name, ast.Attribute)) and not _is_reference(node.func):
            yield "calls a computed value"
        if isinstance(node.func, ast.Name) and node.func.id == "vars":
            only_reference = len(node.args) == 1 and not node.keywords and _starts_at_reference(node.args[0])
            if not only_reference or isinstance(parent, (ast.Subscript, ast.Attribute)):
                yield "may apply vars to one reference only, and not read the result further"

    def _dotted(self, node: ast.AST) -> str | None:
        """Return the full name of a chain that starts at a module."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._modules:
            return None
        return ".".join([self._modules[node.id], *reversed(parts)])


def _is_reference(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == _REFS


def _starts_at_reference(node: ast.AST) -> bool:
    while not _is_reference(node) and isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return _is_reference(node)


def _is_type_name(node: ast.Attribute) -> bool:
    """Tell ``type(@id).__name__``."""
    call = node.value
    if node.attr != "__name__" or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return False
    return call.func.id == "type" and not call.keywords and len(call.args) == 1 and _starts_at_reference(call.args[0])


def _hidden_key(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("__")


def _small_power(node: ast.BinOp) -> bool:
    right: Any = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    return isinstance(right, ast.Constant) and isinstance(right.value, (int, float)) and right.value <= _MAX_POWER
