# SPDX-License-Identifier: Apache-2.0
"""Threads or processes on a CPU: ``python benchmarks/threads.py [--size small] [--rounds 5] [--json FILE]``.

Wall time of the same work (training steps of 16 slices, a pass over 50 slices in fours) in one process with 1 thread, in one
process with all threads, and in as many one-thread processes as there are cores, each with work of its own; in turn, round
by round. The last column is work per second relative to one thread. On a shared machine threads that wait for each other
time the neighbours: look at the load that is printed first.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.harness import processor
from benchmarks.networks import network
from benchmarks.training import batch_of, our_training
from custom.benchmark.cells import Table
from custom.benchmark.rendering import markdown, write_json
from custom.models.precision import Precision

SLICES, TOGETHER, STEPS = 50, 4, 2


def training(size: str, precision: str) -> Callable[[], object]:
    """Return ``STEPS`` training steps."""
    return our_training(size, batch_of(16, (96, 96)), precision, STEPS)


def inference(size: str, precision: str) -> Callable[[], object]:
    """Return a pass over the slices of one scan."""
    net, images = network(size).eval(), torch.rand(SLICES, 1, 96, 96)

    def run() -> None:
        with torch.inference_mode(), Precision.of(precision).autocast(images.device):
            for part in images.split(TOGETHER):
                net(part, timesteps=torch.full((len(part),), 499))

    return run


WORK = {"training": training, "inference": inference}


def seconds(threads: int, run: Callable[[], object]) -> float:
    """Return the wall time of one call with so many threads."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def worker(kind: str, size: str, precision: str) -> None:
    """For every line on standard input do the work once in one thread and print its wall time."""
    run = WORK[kind](size, precision)
    seconds(1, run)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(seconds(1, run), flush=True)


def measure(kind: str, size: str, precision: str, rounds: int, cores: int) -> dict[str, list[float]]:
    """Return wall times by way; those of the processes are the slowest of each round."""
    command = [sys.executable, __file__, "--size", size, "--precision", precision, "--worker", kind]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(cores)
    ]
    pipes = [(process.stdin, process.stdout) for process in processes]
    run = WORK[kind](size, precision)
    found: dict[str, list[float]] = {"1 thread": [], f"{cores} threads": [], f"{cores} processes of 1 thread": []}
    try:
        for _, answers in pipes:
            assert answers is not None
            answers.readline()
        for threads in (1, cores):
            seconds(threads, run)  # caches and kernels warm
        for _ in range(rounds):
            found["1 thread"].append(seconds(1, run))
            found[f"{cores} threads"].append(seconds(cores, run))
            for orders, _ in pipes:
                assert orders is not None
                orders.write("go\n")
                orders.flush()
            found[f"{cores} processes of 1 thread"].append(
                max(float(answers.readline()) for _, answers in pipes if answers is not None)
            )
    finally:
        for process in processes:
            process.communicate()
    return found


def main() -> int:
    """Measure and print a table per kind of work and arithmetic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["tiny", "small", "full"], default="small")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the table, docs/results/threads.json for the documents")
    parser.add_argument("--worker", choices=list(WORK), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker, arguments.size, arguments.precision[0])
        return 0
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    rows = []
    for kind in WORK:
        for precision in arguments.precision:
            found = measure(kind, arguments.size, precision, arguments.rounds, cores)
            single = found["1 thread"]
            for way, times in found.items():
                jobs = cores if "processes" in way else 1
                ratio = statistics.median(jobs * one / other for one, other in zip(single, times, strict=True))
                spread = f"{min(times):.3g} to {max(times):.3g}"
                rows.append(((kind, precision, way), (f"{statistics.median(times):.3g}", spread, f"{ratio:.2f}x")))
    table = Table(
        f"Wall time of the same work, {arguments.size} network",
        ("work", "arithmetic", "way"),
        ("seconds", "range", "work per second"),
        tuple(rows),
        (f"{processor()}, {cores} cores; load when it started: {load:.1f}; {arguments.rounds} rounds.",),
    )
    print(markdown(table))
    if arguments.json:
        write_json(table, arguments.json, "python benchmarks/threads.py --json FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
