# SPDX-License-Identifier: Apache-2.0
"""The command ``uad``: one module per subcommand in :mod:`.commands`, each a thin wrapper of the package or of a bundle.

Nothing heavy is imported here or at the top of a subcommand's module: ``uad --help`` answers at once.
"""
