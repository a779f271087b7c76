# SPDX-License-Identifier: Apache-2.0
"""From the scanner's files to prepared scans on disk: extraction, bias field, registration, a quality page for each."""
