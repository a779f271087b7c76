# SPDX-License-Identifier: Apache-2.0
"""Damage every kind of file that this package reads, and see whether it is noticed: ``python fuzz/inject.py --count 5400``.

Faults are drawn from a seed: a flipped bit, another digit, a cut, a block of zeros, another file of the same kind in its
place. What reading a damaged file may do: refuse it in a sentence, make it anew (and say so), or read the same content (a
fault in a comment or a time stamp). Using another content without a word is silent damage; another exception than a
``UADError`` is a traceback. Exit code 1 if there is any of these two.
"""

import argparse
import logging
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from file_kind import Again, FileKind
from kinds import KINDS

from custom.benchmark.rendering import markdown, write_json
from custom.benchmark.tables import Table
from custom.core.errors import UADError

FAULTS = ("bit", "digit", "cut", "zeros", "swap")
ANEW = "made anew or passed over, with a warning"
OUTCOMES = ("refused", ANEW, "same content", "silent", "traceback")


class _Mentions(logging.Handler):
    """Count warnings: what is made anew must be mentioned."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def damaged(data: bytes, fault: str, draw: random.Random, other: bytes | None) -> bytes | None:
    """Return damaged bytes, or None where this fault cannot be."""
    changed = bytearray(data)
    if fault == "bit":
        at = draw.randrange(8 * len(data))
        changed[at // 8] ^= 1 << at % 8
    elif fault == "digit":
        places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
        if not places:
            return None
        at = draw.choice(places)
        changed[at] = draw.choice([digit for digit in range(48, 58) if digit != data[at]])
    elif fault == "cut":
        del changed[draw.randrange(len(data)) :]
    elif fault == "zeros":
        at = draw.randrange(len(data))
        end = min(at + draw.randint(1, 512), len(data))
        changed[at:end] = bytes(end - at)
    elif other is None:
        return None
    else:
        changed[:] = other
    return None if changed == data else bytes(changed)


def inject(kind: FileKind, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Injure files of a kind ``count`` times; return the numbers of outcomes and what went wrong, in words."""
    draw, outcomes, problems = random.Random(f"{seed} {kind.name}"), Counter[str](), list[str]()
    mentions = _Mentions()
    logger = logging.getLogger("custom")
    logger.addHandler(mentions)
    propagate, logger.propagate = logger.propagate, False
    try:
        with tempfile.TemporaryDirectory(prefix="inject-") as temporary:
            folder = Path(temporary) / "files"
            folder.mkdir()
            files = kind.make(folder)
            expected = _plain(kind.read(folder))
            whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
            while outcomes.total() < count:
                path, fault = draw.choice(kind.targets(files)), draw.choice(FAULTS)
                if fault == "swap" and not kind.exchangeable:
                    continue
                alike = [p for p in files if p != path and p.suffix == path.suffix and whole[p] != whole[path]]
                injured = damaged(whole[path], fault, draw, whole[draw.choice(alike)] if alike else None)
                if injured is None:
                    continue
                path.write_bytes(injured)
                outcome, words = _outcome(kind, folder, expected, mentions)
                outcomes[outcome] += 1
                if outcome in ("silent", "traceback"):
                    problems.append(f"{kind.name}, {fault} in {path.relative_to(folder)}: {words}")
                _restore(folder, whole)
    finally:
        logger.removeHandler(mentions)
        logger.propagate = propagate
    return outcomes, problems


def _outcome(kind: FileKind, folder: Path, expected: Any, mentions: _Mentions) -> tuple[str, str]:
    mentions.count = 0
    try:
        found = _plain(kind.read(folder))
    except UADError as error:
        return ("refused", "") if str(error).strip() else ("traceback", "an error without a sentence")
    except Again:
        return ANEW, ""
    except Exception as error:  # whatever it is, it is what we look for
        return "traceback", f"{type(error).__name__}: {str(error)[:160]}"
    if found == expected:
        return (ANEW, "") if mentions.count else ("same content", "")
    return (ANEW, "") if mentions.count else ("silent", "another content was used without a word")


def _restore(folder: Path, whole: dict[Path, bytes]) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in whole:
            path.unlink()
    for path, data in whole.items():
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _plain(value: Any) -> Any:
    """Return a value whose parts compare by content."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def table(results: dict[str, Counter[str]]) -> Table:
    """Return the numbers as a table with a row per kind and a sum."""
    total = sum(results.values(), Counter())
    rows = [(name, counts) for name, counts in [*results.items(), ("all", total)]]
    return Table(
        title="Faults injected into files",
        head=("file", "faults"),
        columns=OUTCOMES,
        rows=tuple(((name, str(c.total())), tuple(str(c[outcome]) for outcome in OUTCOMES)) for name, c in rows),
        notes=(),
        scale=1.0,
    )


def main() -> int:
    """Read the arguments, injure, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5400, help="faults in all (default 5400)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other faults")
    parser.add_argument("--kind", choices=[kind.name for kind in KINDS], action="append", help="default: all")
    parser.add_argument("--json", type=Path, help="write the table for the documents here")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [kind for kind in KINDS if args.kind is None or kind.name in args.kind]
    results, problems = {}, []
    for kind in chosen:
        results[kind.name], words = inject(kind, -(-args.count // len(chosen)), args.seed)
        problems += words
    found = table(results)
    print(markdown(found))
    if args.json:
        write_json(found, args.json, f"python fuzz/inject.py --count {args.count} --seed {args.seed} --json FILE")
    print("\n".join(["", *problems[:40]]), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
