# SPDX-License-Identifier: Apache-2.0
"""Make MONAI Label's own environment, put a frozen bundle into its app, and start the server on this machine only.

Nothing is fetched at start: the app comes from the wheel, the zoo source is ``local``, SAM2 is off, trainers are skipped.
Beside a CPU torch, the torchvision of PyPI cannot load its C++ operators and MONAI Label's import of it fails; there, and
only there, a ``sitecustomize`` declares the two operators that are looked for (they are never called).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from custom.core.errors import ConfigError

CONSTRAINTS = Path(__file__).resolve().with_name("constraints-label.txt")
ENV_PYTHON = "UAD_LABEL_PYTHON"
_INSTALLS = (
    "torch numpy setuptools<81 wheel",
    "monai[nibabel,ignite,skimage,einops] torchvision itk safetensors tqdm",
    "--no-deps monailabel pydicom-seg",
    "uvicorn fastapi pydantic pydantic-settings python-dotenv python-multipart httpx schedule dicomweb-client timeloop "
    "expiringdict expiring_dict cachetools watchdog pydicom pynetdicom pynrrd girder-client passlib pyjwt bcrypt shapely "
    "requests-toolbelt jsonschema SimpleITK google-auth pyyaml scikit-learn psutil",
)
_SHIM = '''"""Declare the operators of torchvision whose library cannot be loaded beside a CPU torch."""

import importlib.abc
import sys


class _Declare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
        return None


sys.meta_path.insert(0, _Declare())
'''


def create_environment(folder: str | Path, python: str = "python3.11") -> Path:
    """Create a virtual environment with the pinned versions and return its Python; an existing one is kept.

    Args:
        folder: of the environment.
        python: interpreter to make it with; MONAI Label 0.8.5 imports ``distutils``, which ended with Python 3.11.
    """
    own = Path(folder).absolute() / "bin" / "python"
    if not own.is_file():
        if shutil.which(python) is None:
            raise ConfigError(f"{python} was not found; MONAI Label 0.8.5 needs Python 3.11, give it with --python.")
        subprocess.run([python, "-m", "venv", str(Path(folder).absolute())], check=True)
    for packages in _INSTALLS:
        command = [str(own), "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS), *packages.split()]
        if subprocess.run(command, check=False).returncode:
            raise ConfigError(
                f"pip could not install '{packages[:80]}' (see above); the versions stand in {CONSTRAINTS}."
            )
    return own


def server_environment(python: str | Path, work: str | Path) -> dict[str, str]:
    """Return the environment variables for the server; writes the shim below ``work`` if torchvision needs it."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"MONAI_ZOO_SOURCE": "local", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = f"{Path(python).parent}{os.pathsep}{environment.get('PATH', '')}"
    if not _torchvision_loads(python, environment):
        shim = Path(work).absolute() / "shim"
        shim.mkdir(parents=True, exist_ok=True)
        (shim / "sitecustomize.py").write_text(_SHIM, encoding="utf-8")
        environment["PYTHONPATH"] = str(shim)
        if not _torchvision_loads(python, environment):
            raise ConfigError(f"torchvision cannot be imported by {python}; make the environment anew.")
    return environment


def install_app(
    python: str | Path, work: str | Path, bundles: Sequence[str | Path], environment: Mapping[str, str]
) -> Path:
    """Copy the app ``monaibundle`` from the wheel to ``work/apps``, link the bundles into it and return its folder."""
    apps = Path(work).absolute() / "apps"
    app = apps / "monaibundle"
    if not app.is_dir():
        download = ["apps", "--download", "--name", "monaibundle", "--output", str(apps)]
        command = [str(python), "-m", "monailabel.main", *download]
        subprocess.run(command, check=True, env=dict(environment), stdout=subprocess.DEVNULL, cwd=str(work))
    (app / "model").mkdir(exist_ok=True)
    for bundle in map(Path, bundles):
        if not (bundle / "models" / "model.pt").is_file() or not (bundle / "configs" / "inference.json").is_file():
            raise ConfigError(f"{bundle} is no frozen bundle; make one with scripts/freeze_bundle.py.")
        link = app / "model" / bundle.resolve().name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(bundle.resolve(), target_is_directory=True)
    return app


def server_command(
    python: str | Path, app: str | Path, studies: str | Path, models: Sequence[str], port: int = 8000
) -> list[str]:
    """Return the command line of a server for ``models`` (names in the app) that listens on 127.0.0.1 only."""
    options = {"models": ",".join(models), "zoo_source": "local", "sam2": "false", "skip_trainers": "true"}
    command = [str(python), "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(studies)]
    command += [part for key, value in options.items() for part in ("--conf", key, value)]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


def serve(python: str | Path, bundles: Sequence[str | Path], studies: str | Path, work: str | Path, port: int) -> int:
    """Run the server in the foreground until it is interrupted; return its exit code."""
    Path(work).mkdir(parents=True, exist_ok=True)
    environment = server_environment(python, work)
    app = install_app(python, work, bundles, environment)
    command = server_command(python, app, Path(studies).absolute(), [Path(b).resolve().name for b in bundles], port)
    print(f"MONAI Label: http://127.0.0.1:{port} (stop with Ctrl-C)", file=sys.stderr)
    try:
        return subprocess.run(command, env=environment, cwd=str(work), check=False).returncode
    except KeyboardInterrupt:
        return 0


def _torchvision_loads(python: str | Path, environment: Mapping[str, str]) -> bool:
    probe = [str(python), "-c", "import torchvision.utils"]
    try:
        return not subprocess.run(probe, env=dict(environment), capture_output=True, check=False).returncode
    except OSError as error:
        raise ConfigError(
            f"{python} cannot be run ({error.strerror}); make the environment with label_server.py setup."
        ) from None
