# SPDX-License-Identifier: Apache-2.0
"""How the threads of a training wait for each other, alone and beside others: ``python benchmarks/waiting.py [--rounds 3] [--json FILE]``.

Every row is a fresh process, since OpenMP reads its settings when torch is loaded: training steps of 16 slices with a thread
per core, the waiting as the library has it (threads spin for a while, then sleep) or ``OMP_WAIT_POLICY=PASSIVE`` (threads sleep
at once), alone or beside as many busy processes as there are cores. Ratios are to the library's own way in the same round;
below 1 is better. ``uad`` lets them sleep, see ``custom/cli/process.py``.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WAYS: dict[str, dict[str, str]] = {
    "as the library does": {},
    "shortly": {"GOMP_SPINCOUNT": "20000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
STEPS = 3
_BUSY = "while True: pass"


def worker(size: str, precision: str) -> None:
    """Do some steps and print wall and CPU seconds a step."""
    import torch

    from benchmarks.training import batch_of, our_training

    torch.set_num_threads(os.cpu_count() or 1)
    run = our_training(size, batch_of(16, (96, 96)), precision, STEPS)
    run()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    print((time.perf_counter() - wall) / STEPS, (time.process_time() - cpu) / STEPS)


def measure(way: str, size: str, precision: str, beside: int) -> tuple[float, float]:
    """Return wall and CPU seconds a step of a process with ``beside`` busy processes beside it."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")} | WAYS[way]
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(beside)]
    try:
        command = [sys.executable, __file__, "--size", size, "--precision", precision, "--worker"]
        wall, cpu = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
        return float(wall), float(cpu)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["tiny", "small", "full"], default="small")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the table, docs/results/waiting.json for the documents")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.size, arguments.precision)
        return 0
    from benchmarks.harness import processor
    from custom.benchmark.cells import Table
    from custom.benchmark.rendering import markdown, write_json

    cores, load, rows = os.cpu_count() or 1, os.getloadavg()[0], []
    for beside in (0, cores):
        rounds = [
            {way: measure(way, arguments.size, arguments.precision, beside) for way in WAYS}
            for _ in range(arguments.rounds)
        ]
        for way in WAYS:
            walls, cpus = zip(*(found[way] for found in rounds), strict=True)
            ratios = [
                statistics.median(found[way][kind] / found["as the library does"][kind] for found in rounds)
                for kind in (0, 1)
            ]
            cells = (f"{statistics.median(walls):.3g}", f"{statistics.median(cpus):.3g}", *(f"{r:.2f}" for r in ratios))
            rows.append(((f"{beside} busy processes" if beside else "nothing", way), cells))
    table = Table(
        f"A training step of 16 slices with a thread per core, {arguments.size} network, {arguments.precision}",
        ("beside", "waiting"),
        ("wall s", "CPU s", "wall, ratio", "CPU, ratio"),
        tuple(rows),
        (f"{processor()}, {cores} cores; load when it started: {load:.1f}; {arguments.rounds} rounds.",),
    )
    print(markdown(table))
    if arguments.json:
        write_json(table, arguments.json, "python benchmarks/waiting.py --json FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
