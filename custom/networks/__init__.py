# SPDX-License-Identifier: Apache-2.0
"""Networks that MONAI lacks: Baur's dense (variational) autoencoder and Kascenas' denoising U-Net.

The diffusion U-Net is MONAI's ``DiffusionModelUNet`` itself. Every network here takes slices ``[B, C, H, W]`` with
intensities in [0, 1] and, in evaluation mode, returns the reconstruction of the same shape.
"""
