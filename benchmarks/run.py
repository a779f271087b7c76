# SPDX-License-Identifier: Apache-2.0
"""Time our parts beside public peers: ``python benchmarks/run.py [--quick] [--only noise scores] [--markdown FILE]``.

One process, one thread, interleaved, by CPU time; under ten minutes on two cores. Leaves with 1 if a candidate's answer
lies outside its tolerance. Peers that are not installed are said so; ``pip install -e .[bench]`` brings them.
"""

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OMP_NUM_THREADS"] = "1"  # idle threads that spin would be counted as everybody's time
os.environ["NUMBA_NUM_THREADS"] = "1"

import torch

from benchmarks import cpu, end_to_end, loading, noise, postprocessing, scores, thresholds, training
from benchmarks.harness import Subject, cpu_info, disagreements, markdown, measure, processor

PACKAGES = ("torch", "monai", "numpy", "scipy", "scikit-image", "scikit-learn", "itk", "SimpleITK", "torchmetrics", "torchio",
            "opensimplex", "numba", "onnxruntime")  # fmt: skip
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")
SUBJECTS: dict[str, Callable[[bool], Sequence[Subject]]] = {
    "noise": lambda quick: noise.subjects(),
    "scores": lambda quick: scores.subjects(full=not quick),
    "postprocessing": lambda quick: postprocessing.subjects(),
    "thresholds": lambda quick: [
        subject for volumes in ((3,) if quick else (1, 100)) for subject in thresholds.subjects(volumes)
    ],
    "loading": lambda quick: loading.subjects(2 if quick else 16),
    "end_to_end": lambda quick: end_to_end.subjects(),
    "training": lambda quick: training.subjects(count=4 if quick else 16),
    "cpu": lambda quick: cpu.subjects(compiled=not quick),
    "full_network": lambda quick: cpu.subjects("full", compiled=not quick, batches=(4, 16)),
}


def machine() -> str:
    """Return processor, instruction sets and versions as Markdown."""
    info = cpu_info()
    flags = [flag for flag in FLAGS if flag in info.get("flags", "").split()]
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (no number here is of a GPU)"
    return (
        f"- processor: {processor()}, {os.cpu_count()} cores, {', '.join(flags)}; one thread used; "
        f"load when it started: {load:.1f}\n- GPU: {gpu}\n- Python {platform.python_version()}, {', '.join(versions)}\n"
    )


def main() -> int:
    """Run the chosen subjects, print their tables, write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer volumes, no dense 3-D peers, nothing compiled")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(SUBJECTS),
        default=list(SUBJECTS)[:-1],
        help="subjects to run; full_network takes long",
    )
    parser.add_argument("--rounds", type=int, help="rounds of every subject instead of its own number")
    parser.add_argument("--markdown", type=Path, help="write the tables between the marks of this file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    parts, faults, start = [machine()], [], time.time()
    print(parts[0], flush=True)
    for name in arguments.only:
        for subject in SUBJECTS[name](arguments.quick):
            measured = measure(subject, arguments.rounds)
            parts.append(markdown(measured))
            faults += disagreements(measured)
            print(parts[-1], flush=True)
    took = f"{(time.time() - start) / 60:.1f} minutes, {sum(os.times()[:4]) / 60:.1f} of them at work (CPU time, compilers included)"
    print(took, file=sys.stderr)
    parts.append(f"The run took {took}.\n")
    for fault in faults:
        print(f"outside its tolerance: {fault}", file=sys.stderr)
    if arguments.markdown:
        write_between_marks(arguments.markdown, "\n".join(parts))
    return int(bool(faults))


def write_between_marks(path: Path, text: str) -> None:
    """Replace what stands between the marks of a file; the text around it is written by hand."""
    first, last = "<!-- measured: begin -->", "<!-- measured: end -->"
    before, mark, rest = (path.read_text(encoding="utf-8") if path.exists() else f"{first}\n{last}\n").partition(first)
    if not mark or last not in rest:
        raise SystemExit(f"{path} lacks the lines {first} and {last}; put them where the tables belong.")
    path.write_text(f"{before}{first}\n{text}\n{last}{rest.partition(last)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
