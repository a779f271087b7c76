# SPDX-License-Identifier: Apache-2.0
"""Feed mutated bytes to everything that reads foreign files: ``python fuzz/run.py --seconds 60``.

Prints the number of executions of every target and each distinct defect with the smallest input that shows it; exit
code 1 if there is any. ``--engine atheris --target nifti`` lets atheris guide the mutations by coverage, if installed.
"""

import argparse
import sys
import time
import traceback
import warnings
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from targets import TARGETS, Target, run_target

_BATCH = 200


def mutated(target: Target) -> st.SearchStrategy[bytes]:
    """Return mutations of the examples of a target: up to eight cuts, flips, insertions and repetitions."""
    edit = st.tuples(
        st.sampled_from(["flip", "overwrite", "insert", "delete", "repeat", "truncate"]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(target.words) | st.binary(min_size=1, max_size=8),
        st.integers(1, 64),
    )

    def apply(example: bytes, edits: list[tuple[str, float, bytes, int]]) -> bytes:
        data = bytearray(example)
        for kind, place, word, length in edits:
            at = int(place * (len(data) + 1))
            if kind == "flip" and at < len(data):
                data[at] ^= word[0]
            elif kind == "overwrite":
                data[at : at + len(word)] = word
            elif kind == "insert":
                data[at:at] = word
            elif kind == "delete":
                del data[at : at + length]
            elif kind == "repeat":
                data[at:at] = data[at : at + length] * 3
            elif kind == "truncate":
                del data[at:]
        return bytes(data)

    return st.builds(apply, st.sampled_from(target.examples), st.lists(edit, max_size=8)) | st.binary(max_size=700)


class Defects:
    """Distinct exceptions by type and place, each with the smallest input."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, str], tuple[bytes, str]] = {}
        self.executions = 0

    def run(self, target: Target, data: bytes) -> None:
        """Run once and keep what goes wrong."""
        self.executions += 1
        try:
            run_target(target, data)
        except Exception as error:  # whatever it is, it is what we look for
            frames = traceback.extract_tb(error.__traceback__)
            own = next((f for f in reversed(frames) if "custom" in Path(f.filename).parts), frames[-1])
            key = (target.name, type(error).__name__, f"{own.filename}:{own.lineno}")
            known = self.found.get(key)
            if known is None or len(data) < len(known[0]):
                self.found[key] = (data, str(error)[:160])


def fuzz(target: Target, seconds: float, defects: Defects, start_seed: int, most: int = sys.maxsize) -> int:
    """Run one target for a time, at most ``most`` times; return the number of executions."""
    before, end, number = defects.executions, time.monotonic() + seconds, start_seed

    def going_on() -> bool:
        return time.monotonic() < end and defects.executions - before < most

    while going_on():

        @seed(number)
        @settings(
            max_examples=_BATCH,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(mutated(target))
        def batch(data: bytes) -> None:
            if going_on():
                defects.run(target, data)

        batch()
        number += 1
    return defects.executions - before


def main() -> int:
    """Read the arguments, fuzz, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together (default 60)")
    parser.add_argument("--target", choices=[t.name for t in TARGETS], action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other inputs")
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [t for t in TARGETS if args.target is None or t.name in args.target]
    if args.engine == "atheris":
        return _atheris(chosen[0], int(args.seconds))
    defects = Defects()
    for target in chosen:
        run_target(target, target.examples[0])  # imports are not counted as time of the target
        count = fuzz(target, args.seconds / len(chosen), defects, args.seed)
        print(f"{target.name:10} {count:8} executions", flush=True)
    for (name, kind, place), (data, message) in defects.found.items():
        print(f"\ndefect in {name}: {kind}: {message}\n  at {place}\n  input ({len(data)} bytes): {data[:200]!r}")
    print(f"\n{defects.executions} executions, {len(defects.found)} defects")
    return 1 if defects.found else 0


def _atheris(target: Target, seconds: int) -> int:
    try:
        import atheris
    except ImportError:
        print("error: atheris is not installed; pip install atheris, or use --engine hypothesis", file=sys.stderr)
        return 2
    atheris.instrument_all()
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096"], lambda data: run_target(target, bytes(data))
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
