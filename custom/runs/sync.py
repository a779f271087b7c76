# SPDX-License-Identifier: Apache-2.0
"""Send an outbox to MLflow: from where the last sending stopped, so that everything arrives once.

``tracking_state.json`` beside the outbox remembers, per tracking server (without user and password), the MLflow run and
the byte behind the last line that was accepted. A folder is one run, for ever: no other run's lines are ever added to
it. A tag of the run tells where it comes from, so that it is found again when a sending was killed before it could
remember it; another names its process, so that the next start on the same machine closes the runs of those that were
killed.
"""

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..core.digests import read_checked_json, write_checked_json
from ..core.errors import ResourceError, UADError
from ..core.files import atomic_path
from .outbox import Outbox, is_alive
from .secrets import without_secrets

STATE_NAME = "tracking_state.json"
LOCAL_DATABASE = "sqlite:///output/mlflow.db"
SECONDS = 3
_LONGEST_PARAM = 6000
# The web interface opens an experiment without this tag in its view for language models, which shows no curves.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}


def default_uri(local: str = LOCAL_DATABASE) -> str:
    """Return the tracking server of the environment (``MLFLOW_TRACKING_URI``), else the database ``local``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local


def sync_outbox(folder: str | Path, tracking_uri: str, stop: Callable[[], bool] = lambda: False) -> int:
    """Send what ``tracking_uri`` has not had yet and return the number of lines sent.

    Args:
        folder: output folder with the outbox.
        tracking_uri: MLflow server or ``sqlite:///`` database.
        stop: asked between two lines; True ends early without loss.

    Raises:
        ResourceError: the server cannot be reached or refuses; what was sent stays sent. The reason holds no password.
        DamagedFileError: ``tracking_state.json`` is damaged.
    """
    outbox = Outbox(folder)
    with FileLock(outbox.folder / ".tracking.lock"):
        path = outbox.folder / STATE_NAME
        known = _state(outbox.folder)
        state = known.setdefault(without_secrets(tracking_uri), {"offset": 0, "run_id": None})
        if state["offset"] > (outbox.path.stat().st_size if outbox.path.exists() else 0):
            raise ResourceError(
                f"{outbox.path} is shorter than what was sent of it already: it was cut or replaced. Restore it from a copy."
            )
        waiting = list(outbox.lines(state["offset"]))
        if not waiting:
            return 0
        try:
            return _send(waiting, tracking_uri, state, stop)
        except UADError:
            raise
        except Exception as error:  # MLflow's own, requests', urllib3's, sqlalchemy's: they may quote the address
            reason = " ".join(without_secrets(str(error)).split())[:300] or type(error).__name__
            raise ResourceError(f"nothing more can be sent to {without_secrets(tracking_uri)}: {reason}") from None
        finally:
            write_checked_json(path, known)


def _send(
    waiting: list[tuple[dict[str, Any], int]], tracking_uri: str, state: dict[str, Any], stop: Callable[[], bool]
) -> int:
    sender = _Sender(tracking_uri, state)
    sent, reached = 0, state["offset"]
    for event, reached in waiting:
        if stop():
            break
        sender.send(event)
        sent += 1
        if not sender.metrics:  # everything up to here has been accepted
            state["offset"] = reached
    sender.flush()
    state["offset"] = reached if sent == len(waiting) else state["offset"]
    return sent


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE_NAME
    remedy = "remove it: the run is looked for on the server, and its lines are sent again."
    return read_checked_json(path, remedy) if path.exists() else {}


class _Sender:
    def __init__(self, tracking_uri: str, state: dict[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SECONDS))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        from mlflow.entities import Metric, Param  # slow to import, and not needed where nothing is sent
        from mlflow.tracking import MlflowClient

        self.metric, self.param, self.state, self.uri = Metric, Param, state, without_secrets(tracking_uri)
        self.database = _database(tracking_uri)
        if self.database is None:
            self.client = MlflowClient(tracking_uri)
        else:
            self.database.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.database.with_name(self.database.name + ".lock")):  # one process migrates the schema
                if not self.database.exists():  # the migrations take seconds; killed half-way they leave a broken file
                    with atomic_path(self.database) as temporary:
                        MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
                self.client = MlflowClient(tracking_uri)
                self.client.search_experiments(max_results=1)
        self.metrics: list[Any] = []

    def send(self, event: dict[str, Any]) -> None:
        if "metrics" in event:
            self.metrics += [
                self.metric(_name(k), v, event["time"], event["step"]) for k, v in event["metrics"].items()
            ]
            if len(self.metrics) >= 400:
                self.flush()
            return
        self.flush()
        if "run" in event:
            self._start(event["run"], event["time"])
        elif "params" in event:
            done = self.client.get_run(self.state["run_id"]).data.params
            values = {_name(k): v[:_LONGEST_PARAM] for k, v in event["params"].items()}
            new = [self.param(k, v) for k, v in values.items() if k not in done]
            for first in range(0, len(new), 90):
                self.client.log_batch(self.state["run_id"], params=new[first : first + 90])
        elif "artifact" in event and Path(event["artifact"]).exists():
            log = self.client.log_artifacts if Path(event["artifact"]).is_dir() else self.client.log_artifact
            log(self.state["run_id"], event["artifact"], event["to"] or None)
        elif "status" in event:
            self.client.set_terminated(self.state["run_id"], event["status"], event["time"])

    def _run_of(self, folder: str | None) -> str | None:
        """Return the MLflow run of another folder on the same server, if it has one."""
        run_id: str | None = _state(Path(folder)).get(self.uri, {}).get("run_id") if folder else None
        return run_id

    def flush(self) -> None:
        if self.metrics:
            self.client.log_batch(self.state["run_id"], metrics=self.metrics)
            self.metrics = []

    def _start(self, run: dict[str, Any], time_ms: int) -> None:
        experiment = self._experiment(run["experiment"])
        process = ":".join(
            str(part) for part in (run["host"], run["pid"], time_ms, run.get("born_s")) if part is not None
        )
        origin = run.get("id", process)
        self._fail_dead(experiment)
        if self.state["run_id"] is None:  # or a sending was killed before it could remember the run that it made
            same = self.client.search_runs([experiment], f"tags.outbox = '{origin}'", max_results=1)
            self.state["run_id"] = same[0].info.run_id if same else None
        known = self.state["run_id"]
        if known is not None and self.client.get_run(known).info.experiment_id == experiment:
            self.client.set_tag(known, "process", process)
            self.client.update_run(known, status="RUNNING")
            return
        tags = run["tags"] | {"outbox": origin, "process": process}
        tags |= {"mlflow.parentRunId": parent} if (parent := self._run_of(run.get("parent"))) else {}
        created = self.client.create_run(experiment, start_time=time_ms, tags=tags, run_name=run["name"])
        self.state["run_id"] = created.info.run_id

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = None if self.database is None else (self.database.parent / "mlartifacts" / name).as_uri()
        return str(self.client.create_experiment(name, artifact_location=place, tags=_MODEL_TRAINING))

    def _fail_dead(self, experiment: str) -> None:
        """Close the runs of this experiment that processes of this machine left open when they were killed."""
        where = f"attributes.status = 'RUNNING' AND tags.process LIKE '{socket.gethostname()}:%'"
        for run in self.client.search_runs([experiment], where):
            _, pid, since_ms, *born = run.data.tags["process"].split(":")
            if not is_alive(int(pid), int(since_ms), float(born[0]) if born else None):
                self.client.set_terminated(run.info.run_id, "FAILED")


def _name(key: str) -> str:
    """Return ``key`` with what MLflow allows in names; one line that it refuses would hold up all behind it."""
    return re.sub(r"[^\w\-. :/]", "_", key)[:250]


def _database(tracking_uri: str) -> Path | None:
    return Path(tracking_uri.removeprefix("sqlite:///")).resolve() if tracking_uri.startswith("sqlite:///") else None
