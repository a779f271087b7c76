# SPDX-License-Identifier: Apache-2.0
"""The matrix in MLflow: one parent run, below it a run per job, below that its evaluations.

Everything goes through the outboxes that runs have anyway (:mod:`custom.runs.outbox`): the files are the truth, a server
that does not answer costs a warning, and the next start or ``uad sync`` sends the rest.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runs.outbox import Outbox
from ..runs.sync import sync_outbox

logger = logging.getLogger(__name__)


class MatrixTracking:
    """Send the parent run and the runs of finished jobs.

    Args:
        output_dir: of the matrix; the parent run's outbox lies there.
        tracking_uri: MLflow server or ``sqlite:///`` database; None: outboxes only.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tracking = MatrixTracking(folder, tracking_uri=None)
    ...     tracking.start("demo", {"folds": 2})
    ...     tracking.finish({"dice": 0.42}, artifacts=[], failed=0)
    ...     [next(iter(line)) for line, _ in tracking.outbox.lines()]
    ['run', 'params', 'metrics', 'status']
    """

    def __init__(self, output_dir: str | Path, tracking_uri: str | None) -> None:
        self.outbox = Outbox(output_dir)
        self.tracking_uri = tracking_uri
        self._warned = False

    def start(self, name: str, params: Mapping[str, Any]) -> None:
        """Open the parent run before any job, so that jobs find it."""
        self.outbox.start(f"matrix {name}", f"matrix {name}", {"stage": "matrix"})
        self.outbox.params(params)
        self.send(self.outbox.folder)

    def job(self, folder: str | Path) -> None:
        """Send a job and its evaluations."""
        for path in (Path(folder), *sorted(Path(folder).glob("evaluation*"))):
            if (path / "tracking.jsonl").is_file():
                self.send(path)

    def finish(self, metrics: Mapping[str, float], artifacts: list[Path], failed: int) -> None:
        """Record the tables and close the parent run."""
        if metrics:
            self.outbox.metrics(metrics, 0)
        for path in artifacts:
            self.outbox.artifact(path)
        self.outbox.status("FAILED" if failed else "FINISHED")
        self.send(self.outbox.folder)

    def send(self, folder: Path) -> None:
        """Send an outbox; a failure is reported once and costs nothing else."""
        if self.tracking_uri is None:
            return
        try:
            sync_outbox(folder, self.tracking_uri)
        except Exception as error:
            if not self._warned:
                self._warned = True
                reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
                logger.warning("tracking at %s does not work (%s); the matrix goes on.", self.tracking_uri, reason)
