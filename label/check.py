# SPDX-License-Identifier: Apache-2.0
"""Start a real MONAI Label server on this machine, send it phantoms, and judge the masks that come back.

Compared with the scan: shape, affine, side and centre of the marker; with :class:`custom.prediction.predictor.Predictor`: the mask,
voxel by voxel, for a release of every bundle. A model whose ``model.pt`` holds other weights must be refused. Only the
process that was started here is stopped.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from custom.core.errors import ConfigError
from custom.prediction.predictor import Predictor
from custom.release.checked import REFUSAL
from custom.release.freeze import freeze_bundle
from custom.volumes.resampling import affine_distance_mm

from .environment import install_app, server_command, server_environment
from .phantoms import MARKER_MM, METHODS, THRESHOLDS, write_marker_model, write_phantoms

MODEL, EXCHANGED = "ddpm_marker", "ddpm_exchanged"
OTHERS = tuple(method for method in METHODS if method != "ddpm_ssim_ens")
MAX_CENTRE_MM = 1.0
MAX_AFFINE_MM = 1e-3
LOG_SECONDS = 20.0  # the server answers first and writes the reason of an error afterwards


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    passed: bool
    found: str


def check_label_server(python: str | Path, work: str | Path, start_seconds: float = 300.0) -> list[Check]:
    """Run all checks in the new folder ``work`` and return them.

    Args:
        python: of MONAI Label's environment.
        work: holds models, scans, app and ``server.log`` afterwards.
        start_seconds: longest wait for the server's first answer.

    Raises:
        ConfigError: the server does not start.
    """
    work = Path(work).absolute()
    scans = write_phantoms(work / "studies")
    run = write_marker_model(work / "run")
    bundles = [freeze_bundle(run, work / "release", name=name) for name in (MODEL, EXCHANGED)]
    other = freeze_bundle(write_marker_model(work / "other_run", seed=1), work / "release", name="ddpm_other")
    shutil.copyfile(other / "models" / "model.pt", bundles[1] / "models" / "model.pt")
    for method in OTHERS:
        model = write_marker_model(work / method, method=method)
        bundles.append(freeze_bundle(model, work / "release", name=f"{method}_marker"))
    masks = {name: _expected(bundles[0], path) for name, path in scans.items()}
    with label_server(python, work, bundles, start_seconds) as (address, seconds):
        checks = [Check("server starts", True, f"first answer after {seconds:.0f} s")]
        checks += _info(_get(f"{address}/info/"))
        for name, path in scans.items():
            checks += _scan(address, name, path, work, masks[name])
        checks += _knobs(address, next(iter(scans)))
        checks += [_other(address, bundle, scans["oblique"], work) for bundle in bundles[2:]]
        checks.append(_refusal(address, next(iter(scans)), work / "server.log"))
    return checks


@contextmanager
def label_server(
    python: str | Path, work: Path, bundles: list[Path], start_seconds: float
) -> Iterator[tuple[str, float]]:
    """Yield address and starting time of a server that ends with the block."""
    environment = server_environment(python, work) | {"CUDA_VISIBLE_DEVICES": "", "HOME": str(work)}
    environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    app = install_app(python, work, bundles, environment)
    port = _free_port()
    command = server_command(python, app, work / "studies", [bundle.name for bundle in bundles], port)
    with (work / "server.log").open("wb") as log:
        began = time.monotonic()
        server = subprocess.Popen(
            command, env=environment, cwd=work, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(server, address, began + start_seconds, work / "server.log")
            yield address, time.monotonic() - began
        finally:
            _stop(server)


def table(checks: list[Check]) -> str:
    """Return the checks as text."""
    width = max(len(check.name) for check in checks)
    return "\n".join(
        f"{'ok' if check.passed else 'FAILED':<6}  {check.name:<{width}}  {check.found}" for check in checks
    )


def _info(info: Mapping[str, Any]) -> list[Check]:
    model = info["models"].get(MODEL, {})
    config = model.get("config", {})
    kind = f"{model.get('type')}, labels {model.get('labels')}, version {model.get('version')}"
    menu, threshold = config.get("sensitivity"), config.get("threshold")
    options = f"threshold {threshold}, sensitivity {menu}"
    return [
        Check("/info/ model", model.get("type") == "segmentation" and model.get("labels") == {"anomaly": 1}, kind),
        Check("/info/ options", menu == list(THRESHOLDS) and threshold == 0.0, options),
    ]


def _scan(address: str, name: str, path: Path, work: Path, expected: NDArray[np.bool_]) -> list[Check]:
    began = time.monotonic()
    scan, found = nib.load(path), _mask_image(address, MODEL, name, work / f"{name}_mask.nii.gz")
    seconds = time.monotonic() - began
    mask = np.asarray(found.dataobj) > 0
    distance = affine_distance_mm(found.affine, scan.affine, [*scan.shape])
    same_grid = mask.shape == scan.shape and distance < MAX_AFFINE_MM
    grid = Check(f"{name}: grid", same_grid, f"{list(mask.shape)}, corners {distance:.1e} mm apart, {seconds:.1f} s")
    if mask.shape != scan.shape or not mask.any():
        return [grid, Check(f"{name}: marker", False, f"{int(mask.sum())} voxels")]
    world = np.argwhere(mask) @ found.affine[:3, :3].T + found.affine[:3, 3]
    centre = world.mean(axis=0)
    away = float(np.linalg.norm(centre - MARKER_MM))
    left = float((world[:, 0] < 0).mean())
    where = ", ".join(f"{c:.2f}" for c in centre)
    differ = int((mask != expected).sum())
    return [
        grid,
        Check(f"{name}: marker", away < MAX_CENTRE_MM, f"centre ({where}) mm, {away:.2f} mm from the truth"),
        Check(f"{name}: left is left", left == 1.0, f"{left:.0%} of the mask lie left of the midline"),
        Check(f"{name}: as Predictor", differ == 0, f"{differ} of {int(mask.sum())} mask voxels differ"),
    ]


def _mask_image(address: str, model: str, scan: str, target: Path) -> Any:
    """Write the server's mask of a scan to ``target`` and return the image."""
    target.write_bytes(_infer(address, model, scan, {"result_dtype": "uint8", "result_extension": ".nii.gz"}, "image"))
    return nib.load(target)


def _other(address: str, bundle: Path, path: Path, work: Path) -> Check:
    try:
        image = _mask_image(address, bundle.name, path.name.split(".")[0], work / f"{bundle.name}_mask.nii.gz")
    except urllib.error.HTTPError as error:
        return Check(f"{bundle.name}: as Predictor", False, f"HTTP {error.code}, see server.log")
    found, expected = np.asarray(image.dataobj) > 0, _expected(bundle, path)
    differ = int((found != expected).sum()) if found.shape == expected.shape else found.size
    passed = differ == 0 and bool(found.any())
    return Check(f"{bundle.name}: as Predictor", passed, f"{differ} of {int(found.sum())} mask voxels differ")


def _expected(bundle: Path, scan: Path) -> NDArray[np.bool_]:
    return np.asarray(Predictor.load(bundle, device="cpu").predict(scan).mask > 0)


def _knobs(address: str, scan: str) -> list[Check]:
    checks = []
    for knobs, wanted in (
        ({}, THRESHOLDS["healthy_fpr_0.01"]),
        ({"sensitivity": "healthy_fpr_0.05"}, THRESHOLDS["healthy_fpr_0.05"]),
        ({"threshold": 2.0}, 2.0),
    ):
        reply = json.loads(_infer(address, MODEL, scan, knobs, "json"))
        right = reply.get("threshold") == wanted and (wanted < 1) == (reply.get("anomaly_ml", 0) > 0)
        text = f"threshold {reply.get('threshold')} ({reply.get('threshold_source')}), {reply.get('anomaly_ml', -1):.2f} ml"
        checks.append(Check(f"options {knobs or 'none'}", right, text))
    return checks


def _refusal(address: str, scan: str, log: Path) -> Check:
    try:
        _infer(address, EXCHANGED, scan, {}, "json")
    except urllib.error.HTTPError as error:
        stated = _appears(REFUSAL, log, LOG_SECONDS)
        return Check("exchanged weights", stated, f"HTTP {error.code}, reason {'' if stated else 'not '}in the log")
    return Check("exchanged weights", False, "answered with a mask")


def _appears(text: str, log: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while text not in log.read_text(encoding="utf-8", errors="replace"):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _infer(address: str, model: str, scan: str, params: Mapping[str, Any], output: str) -> bytes:
    boundary = uuid.uuid4().hex
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{json.dumps(params)}\r\n--{boundary}--\r\n'
    query = urllib.parse.urlencode({"image": scan, "output": output})
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return _open(urllib.request.Request(f"{address}/infer/{model}?{query}", body.encode(), headers), 600)


def _get(url: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_open(url, 30))
    return content


def _open(request: Any, seconds: float) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=seconds) as response:
        answer: bytes = response.read()
    return answer


def _wait(server: subprocess.Popen[bytes], address: str, until: float, log: Path) -> None:
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            _get(f"{address}/info/")
            return
        except (OSError, ValueError):
            time.sleep(1)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace")).splitlines()
    state = "ended" if server.poll() is not None else "gave no answer in time"
    raise ConfigError(f"the MONAI Label server {state}; the last lines of {log}:\n" + "\n".join(lines[-15:]))


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)  # the session that was made for it
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
