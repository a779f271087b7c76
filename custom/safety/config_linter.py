# SPDX-License-Identifier: Apache-2.0
"""Read a bundle as data and say what in it could run code that is not ours. Nothing of the bundle is run.

MONAI configurations are programs: ``_target_`` names any importable function, ``$`` starts a Python expression,
``logging.conf`` is evaluated by :mod:`logging.config`. The linter is an allow-list for all three and for the kinds of
files in the folder. The package that a release carries must be the installed one, byte for byte (:mod:`.embedded`); if
it is not, that is one finding, however many files differ. It is a filter against foreign code, no sandbox: allowed
classes can still read and write the files that the user can.
"""

import ast
import configparser
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .allowed import allowed_target, short_name_target
from .embedded import PACKAGE, foreign_files, is_embedded
from .expressions import expression_faults, import_names, reference_faults

MAX_CONFIG_BYTES = 2 << 20
MAX_FILES = 10_000
MAX_DEPTH = 60
_ENDINGS = frozenset(
    {".json", ".conf", ".md", ".txt", ".rst", ".cff", ".safetensors", ".pt", ".pth", ".sha256", ".png", ".jpg", ".csv"}
)
_BARE_NAMES = frozenset({"LICENSE", "LICENCE", "NOTICE", ".gitkeep", ".gitignore"})
_OWN_CONFIGS = Path(__file__).resolve().parents[1] / "configs"
_MODES = ("default", "callable")
_NAMED = 20


@dataclass(frozen=True)
class LintFinding:
    """One refused thing: the file, its id in the configuration, the text, why it is refused."""

    file: str
    id: str
    found: str
    why: str

    def __str__(self) -> str:
        place = f"{self.file}, {self.id}" if self.id else self.file
        return f"{place}: {self.found[:120]!r} {self.why}"


def lint_bundle(bundle: str | Path) -> list[LintFinding]:
    """Return everything in a bundle folder (or one configuration file) that is not on the list of allowed things.

    Raises:
        ConfigError: there is no such folder or file.
    """
    root = Path(bundle)
    if not root.exists():
        raise ConfigError(f"there is no bundle at {root}; give the folder that holds configs/")
    files = [root] if root.is_file() else _files(root)
    linter = _Linter(root if root.is_dir() else root.parent)
    for path in files:
        linter.file(path)
    return linter.finish()


def require_safe(bundle: str | Path, trusted_hashes: Iterable[str] = ()) -> None:
    """Return only if a bundle has no finding, or if its :func:`bundle_digest` is trusted.

    Raises:
        ConfigError: names everything that was found and how to trust the bundle.
    """
    findings = lint_bundle(bundle)
    if not findings or bundle_digest(bundle) in set(trusted_hashes):
        return
    more = f"\n  and {len(findings) - _NAMED} more" if len(findings) > _NAMED else ""
    raise ConfigError(
        f"the bundle {bundle} could run code of its own and was not opened:\n  "
        + "\n  ".join(str(found) for found in findings[:_NAMED])
        + f"{more}\nOpening it would give it everything you can do. If you know its author and have read it, pin this "
        f"version: python scripts/lint_bundle.py {bundle} --trust"
    )


def bundle_digest(bundle: str | Path) -> str:
    """Return SHA-256 over names and contents of all files of a bundle; compiled Python files do not count."""
    root = Path(bundle)
    digest = hashlib.sha256()
    for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file() or p.is_symlink()):
        name = path.name if path == root else path.relative_to(root).as_posix()
        if "__pycache__" in path.parts:
            continue
        content = hashlib.sha256()
        if path.is_symlink():
            content.update(b"link " + str(path.readlink()).encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
        digest.update(f"{name}\0{content.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(root: Path) -> list[Path]:
    found = []
    for path in root.rglob("*"):
        found.append(path)
        if len(found) > MAX_FILES:
            raise ConfigError(f"{root} holds more than {MAX_FILES} files; that is no bundle")
    return sorted(found)


class _Linter:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._findings: list[LintFinding] = []
        self._embedded: list[Path] = []
        self._seen: set[Path] = set()
        self._configs: list[tuple[str, Any]] = []
        self._names: dict[str, str] = {}
        self._import_ids: set[str] = set()

    def file(self, path: Path) -> None:
        name = path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else str(path)
        if path.is_symlink():
            self._add(name, "", path.name, "is a link; it can lead anywhere")
        elif path.is_dir():
            if path.name == "__pycache__" and not is_embedded(path, self._root):
                self._add(name, "", path.name, "holds compiled code; delete the folder")
        elif is_embedded(path, self._root):
            self._embedded.append(path)
        elif path.suffix.lower() not in _ENDINGS and path.name not in _BARE_NAMES:
            self._add(name, "", path.name, "is of a kind that bundles do not need; it may be code")
        elif path.suffix.lower() == ".json":
            self._config(path, name)
        elif path.suffix.lower() == ".conf":
            self._logging(path, name)

    def finish(self) -> list[LintFinding]:
        if foreign := foreign_files(self._embedded, self._root):
            example = foreign[0].relative_to(self._root).as_posix()
            what = f"{len(foreign)} of {len(self._embedded)} files, such as {example}"
            why = "are code of the bundle's own, other than the installed package; opening it runs them"
            compiled = any("__pycache__" in path.parts for path in foreign)
            self._add(PACKAGE, "", what, why + "; delete the folders __pycache__" * compiled)
        for name, content in self._configs:
            for place, text in _strings(content):
                self._collect(name, place, text)
        import_ids = frozenset(self._import_ids)
        for name, content in self._configs:
            for place, value in _nodes(content):
                for found, why in _judged(place, value, self._names, import_ids):
                    self._add(name, place, found, why)
        return list(dict.fromkeys(self._findings))

    def _add(self, file: str, place: str, found: str, why: str) -> None:
        self._findings.append(LintFinding(file, place, found, why))

    def _config(self, path: Path, name: str) -> None:
        if path.resolve() in self._seen:
            return
        self._seen.add(path.resolve())
        try:
            if path.stat().st_size > MAX_CONFIG_BYTES:
                self._add(name, "", path.name, f"has more than {MAX_CONFIG_BYTES} bytes")
                return
            content = json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=_unique)
        except (OSError, ValueError, RecursionError) as error:
            self._add(name, "", path.name, f"is no readable JSON ({str(error)[:80] or type(error).__name__})")
            return
        if _too_deep(content):
            self._add(name, "", path.name, f"is nested more than {MAX_DEPTH} levels deep")
            return
        self._configs.append((name, content))
        for place, text in _strings(content):
            if text.startswith("%"):
                self._macro(text[1:], name, place)

    def _macro(self, text: str, name: str, place: str) -> None:
        file = text.replace("#", "::").split("::")[0]
        if not file.lower().endswith((".json", ".yaml", ".yml")):
            return  # an id of the same configuration, which is looked at anyway
        path = Path(file)
        inside = path.resolve()
        if inside.is_relative_to(_OWN_CONFIGS) or inside.is_relative_to(self._root.resolve().parent):
            if inside.suffix.lower() != ".json" or not inside.is_file():
                self._add(name, place, file, "is no JSON file that can be checked")
            else:
                self._config(inside, file)
        else:
            self._add(name, place, file, "lies outside the bundle")

    def _collect(self, name: str, place: str, text: str) -> None:
        if not text.startswith("$"):
            return
        imported = import_names(text[1:])
        if imported is None:
            return
        if "" in imported:
            self._add(name, place, text, imported[""])
        elif any(self._names.get(alias, dotted) != dotted for alias, dotted in imported.items()):
            self._add(name, place, text, "gives an imported name another meaning")
        else:
            self._names.update(imported)
        self._import_ids.add(place)

    def _logging(self, path: Path, name: str) -> None:
        parser = configparser.RawConfigParser()
        try:
            if path.stat().st_size > MAX_CONFIG_BYTES:
                raise ValueError("too large")
            parser.read_string(path.read_bytes().decode("utf-8"))
        except (OSError, ValueError, configparser.Error) as error:
            self._add(name, "", path.name, f"is no readable logging configuration ({str(error)[:60]!r})")
            return
        for section in parser.sections():
            for key, value in parser.items(section):
                if key in ("class", "args", "kwargs", "defaults") and not _harmless_logging(key, value):
                    self._add(name, f"{section}::{key}", value, "would be evaluated by Python's logging")


def _harmless_logging(key: str, value: str) -> bool:
    if key == "class":
        return value in ("StreamHandler", "logging.StreamHandler", "NullHandler", "logging.Formatter", "Formatter")
    for stream in ("sys.stderr", "sys.stdout"):
        value = value.replace(stream, "None")
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return False
    return True


def _judged(place: str, value: Any, names: Mapping[str, str], import_ids: frozenset[str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _keyword(str(key), entry)
    elif value.startswith("$"):
        if import_names(value[1:]) is None:
            for why in expression_faults(value[1:], names, import_ids):
                yield value, why
    elif value.startswith("@"):
        for why in reference_faults(value[1:].replace("#", "::"), import_ids):
            yield value, why
    elif value.startswith(("/", "~")) or ".." in value.replace("\\", "/").split("/"):
        yield value, "is a path out of the current folder; a bundle does not know the folders of its user"


def _keyword(key: str, entry: Any) -> Iterator[tuple[str, str]]:
    if key == "_target_":
        if not isinstance(entry, str) or entry.startswith(("$", "@", "%")):
            yield str(entry), "computes what is to be run"
            return
        dotted = entry if "." in entry else short_name_target(entry)
        if reason := allowed_target(dotted):
            yield entry, reason + (f" ({dotted})" if dotted != entry else "")
    elif key == "_mode_" and entry not in _MODES:
        yield str(entry), f"is no mode of running; allowed: {', '.join(_MODES)}"
    elif key == "_debug_":
        yield key, "starts a debugger"


def _nodes(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dictionary and every string with its id, as MONAI counts them."""
    if isinstance(content, (Mapping, str)):
        yield place, content
    entries = (
        content.items() if isinstance(content, Mapping) else enumerate(content) if isinstance(content, list) else ()
    )
    for key, entry in entries:
        yield from _nodes(entry, f"{place}::{key}" if place else str(key))


def _strings(content: Any) -> Iterator[tuple[str, str]]:
    yield from ((place, value) for place, value in _nodes(content) if isinstance(value, str))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _too_deep(content: Any, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return True
    entries = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    return any(_too_deep(entry, depth + 1) for entry in entries)
