# SPDX-License-Identifier: Apache-2.0
"""Subcommands of ``uad``: every module of this folder is one, called after the module.

A module has a docstring, whose first line is the help; ``add_arguments(parser)``; and ``run(arguments) -> int``, the exit
code. Imports of torch, MONAI and of packages that import them stand inside ``run``. A module that runs a bundle has
``settings_help(words) -> str`` too: then options that it does not declare are settings of the bundle and stand in
``arguments.settings`` (name -> words), and ``--help`` ends with what the function returns for the words given.
"""
