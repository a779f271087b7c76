# SPDX-License-Identifier: Apache-2.0
"""``python -m custom.cli.stage training --config_file FILE --name value ...``: a stage of a matrix in a process of its own.

The command line is that of ``python -m monai.bundle run``. Other than there, files of the package are found from any folder,
and a value is configuration only if it begins as such (``%``, ``$``, ``@``) or is an object of JSON; other text is a name,
whatever characters it holds.
"""

import sys

from .main import guarded
from .process import prepare_process


def run(words: list[str]) -> int:
    """Run the stage: the name of a list of expressions, then ``--config_file`` and settings."""
    from ..runs.arguments import check_arguments, files_and_overrides
    from ..runs.knobs import is_expression
    from .bundle import run_files

    check_arguments(words, as_text=False)
    files, settings = files_and_overrides(words)
    configuration = {name: value for name, value in settings.items() if is_expression(value)}
    values = {name: value for name, value in settings.items() if name not in configuration}
    run_files(files, words[0], values, configuration=configuration)
    return 0


if __name__ == "__main__":
    prepare_process()
    sys.exit(guarded(lambda: run(sys.argv[1:])))
