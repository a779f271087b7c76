# SPDX-License-Identifier: Apache-2.0
"""What a person looks at: figures of an evaluation, and self-contained HTML pages of single scans."""
