# SPDX-License-Identifier: Apache-2.0
"""What a process of the command line sets up before torch and MONAI are imported; a library call never does."""

import getpass
import logging
import os
import sys
import warnings


def prepare_process() -> None:
    """Set the environment variables, warning filters and loggers of a process that runs one command."""
    for stream in (sys.stdout, sys.stderr):  # a file name that is not UTF-8 is shown, and ends nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    _name_the_user()
    _let_waiting_threads_sleep()
    os.environ.setdefault("MPLBACKEND", "Agg")
    # MONAI's note that a configuration can run code: the configurations that run here are this package's own, or are named
    # by the user as configurations.
    warnings.filterwarnings("ignore", message=".*GHSA-.*")
    for name in ("monai.bundle.workflows", "monai.bundle.scripts"):  # banners; MONAI's import sets the levels
        logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # "Creating initial MLflow database tables"
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it repeats every error, which is printed once at the end


def _name_the_user() -> None:
    """Give a process without an entry in the list of users a name; MONAI asks for one when it is imported.

    ``docker run --user 12345``, OpenShift and Singularity start such processes.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"user{os.getuid()}" if hasattr(os, "getuid") else "user"


def _let_waiting_threads_sleep() -> None:
    """Let the threads of torch sleep instead of spin while they wait for each other (``benchmarks/waiting.py``).

    Beside other processes, threads that spin take the time away from those that work, and a machine that is idle when a training
    starts may not stay so. ``OMP_WAIT_POLICY`` in the environment decides instead.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
