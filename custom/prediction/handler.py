# SPDX-License-Identifier: Apache-2.0
"""Let a batch of scans survive its broken ones, and write each result as soon as it is there."""

import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil
from ignite.engine import Engine, Events
from tqdm import tqdm

from ..runs.failure import on_failure
from .calibration import Calibration
from .case_result import CaseResult
from .dataset import survived
from .find import ScanSource
from .results import ResultsFolder


class PredictionHandler:
    """Write the result of every iteration, behind a bar with time and memory.

    ``sources`` are the scans of the dataset, in its order; ``debug`` lets errors through.

    >>> from pathlib import Path
    >>> from custom.prediction.calibration import Threshold
    >>> calibration = Calibration("t1", "l1", {"healthy": Threshold(0.3, "healthy scans")}, [(0.0, 0.0), (1.0, 0.8)])
    >>> sources = [ScanSource("sub-1", Path("sub-1.nii.gz"))]
    >>> handler = PredictionHandler(ResultsFolder("results", {}, "t1"), sources, calibration)
    >>> handler.iteration(None, {"index": [0], "error": ["sub-1: it is empty"]})  # of a ScanDataset
    {'error': 'sub-1: it is empty'}
    """

    def __init__(
        self, results: ResultsFolder, sources: Sequence[ScanSource], calibration: Calibration, debug: bool = False
    ) -> None:
        self.results = results
        self.sources = list(sources)
        self.calibration = calibration
        self.debug = debug

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._case)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.bar.close())
        on_failure(engine, lambda _: self.results.release())

    def iteration(self, engine: Any, batch: dict[str, Any]) -> Any:
        """Stand in for the evaluator's own step (``iteration_update``): errors become an output instead of an end."""
        self.index, self.began = int(batch["index"][0]), time.perf_counter()
        if "error" in batch:
            return {"error": batch["error"][0]}
        try:
            return engine._iteration(engine, batch)
        except Exception as error:
            return {"error": survived(error, self.sources[self.index].case_id, self.debug)}

    def _start(self, engine: Engine) -> None:
        hidden = not sys.stderr.isatty()
        self.bar = tqdm(total=len(self.sources), desc="scans", unit="scan", file=sys.stderr, disable=hidden)

    def _case(self, engine: Engine) -> None:
        source, output = self.sources[self.index], engine.state.output
        try:
            if isinstance(output, dict) and "error" in output:
                self.results.fail(source, output["error"])
            else:
                data = {**engine.state.batch[0], **output[0]}
                result = CaseResult.from_data(data, self.calibration)
                self.results.save(source, result, time.perf_counter() - self.began)
        except Exception as error:
            self.results.fail(source, survived(error, source.case_id, self.debug))
        memory = psutil.Process().memory_info().rss / 2**30
        self.bar.set_postfix_str(f"{source.case_id}, {memory:.1f} GiB")
        self.bar.update()
