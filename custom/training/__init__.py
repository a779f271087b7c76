# SPDX-License-Identifier: Apache-2.0
"""What a training is made of: batches, augmentation, checkpoints, averaged weights, validation, several processes."""
