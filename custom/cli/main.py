# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``uad``: read the command line, run one subcommand, turn errors into sentences and exit codes."""

import argparse
import contextlib
import difflib
import importlib
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NoReturn

from .. import __version__
from ..core.files import expanded
from ..core.foreseen import explain
from ..runs.secrets import without_secrets
from . import commands
from .overrides import split_command, underscored
from .process import prepare_process

_ABOUT = """Unsupervised anomaly detection in brain MRI. Research use only; not a medical device.

`uad demo` shows everything on synthetic scans. With scans of your own: `uad check DATA`, `uad train`, `uad evaluate`,
`uad predict`. `uad COMMAND --help` explains each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: that of the process) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(words))


def guarded(run: Callable[[], int]) -> int:
    """Return the exit code of ``run()``; a foreseeable error becomes a sentence on stderr, a defect keeps its traceback.

    ``UAD_DEBUG=1`` shows the traceback of every error.
    """
    try:
        code = run()
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        sentence, code = explain(error)
        if sentence is None or os.environ.get("UAD_DEBUG"):
            traceback.print_exc()
        if isinstance(error, BrokenPipeError):  # or Python complains once more when it flushes stdout at its end
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        elif sentence:
            print(without_secrets(sentence), file=sys.stderr)
        return code


def in_own_process(run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Return the exit code of ``run(arguments)`` in a process that :func:`custom.prediction.watch.watched` has started."""
    prepare_process()
    return guarded(lambda: run(arguments))


def subcommands() -> dict[str, ModuleType]:
    """Return the modules of the subcommands by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(commands.__path__))
    return {name: importlib.import_module(f"{commands.__name__}.{name}") for name in names}


def _run(words: list[str]) -> int:
    modules = subcommands()
    parser = _Parser(prog="uad", description=_ABOUT, formatter_class=_KeepLines, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"uad {__version__}")
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    parsers = {}
    for name, module in modules.items():
        about = (module.__doc__ or "").strip()
        parsers[name] = chosen.add_parser(
            name, help=about.splitlines()[0], description=about, formatter_class=_KeepLines, allow_abbrev=False
        )
        module.add_arguments(parsers[name])
    words = underscored(words)
    settings: dict[str, list[str]] = {}
    first = words[0] if words else ""
    if hasattr(modules.get(first), "settings_help"):
        own = parsers[first]
        options = [option for action in own._actions for option in action.option_strings]
        words, settings = split_command(words, options)
        if {"-h", "--help"} & set(words):
            own.epilog = modules[first].settings_help(words[1:])
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        parsers.get(first, parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.command is None:
        parser.print_help()
        return 0
    for name, value in vars(arguments).items():  # "--output=~/x", and what no shell has expanded
        if isinstance(value, str) and value.startswith("~"):
            setattr(arguments, name, str(expanded(value)))
    arguments.settings = settings
    prepare_process()
    return int(modules[arguments.command].run(arguments))


class _Parser(argparse.ArgumentParser):
    """A misspelt option or command is answered with the closest known one."""

    def error(self, message: str) -> NoReturn:
        """Print the fault and leave with exit code 2."""
        options = [option for action in self._actions for option in action.option_strings]
        commands = [str(choice) for action in self._actions for choice in action.choices or ()]
        for word in re.findall(r"--[\w-]+|(?<=invalid choice: ')[^']+", message):
            close = difflib.get_close_matches(word, options if word.startswith("--") else commands, n=1)
            if close and word not in options:
                message += f"; did you mean {close[0]}?"
                break
        super().error(message)


class _KeepLines(argparse.RawDescriptionHelpFormatter):
    """Descriptions and lists of settings keep their lines."""


if __name__ == "__main__":
    sys.exit(main())
