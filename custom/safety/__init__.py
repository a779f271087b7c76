# SPDX-License-Identifier: Apache-2.0
"""What comes from others is judged before it is opened: bundle configurations, archives, manifests."""

from .archives import Limits, safe_extract
from .config_linter import LintFinding, bundle_digest, lint_bundle, require_safe
from .manifest import read_manifest, verify_manifest, write_manifest
from .trust import trust, trusted_hashes

__all__ = [
    "Limits",
    "LintFinding",
    "bundle_digest",
    "lint_bundle",
    "read_manifest",
    "require_safe",
    "safe_extract",
    "trust",
    "trusted_hashes",
    "verify_manifest",
    "write_manifest",
]
