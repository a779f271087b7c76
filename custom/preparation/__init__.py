# SPDX-License-Identifier: Apache-2.0
"""From a scan to the grid that a model works on, by one pipeline for training, evaluation and a user's scan.

A :class:`~custom.preparation.subject.Subject` (image, brain mask and truth on one grid, with the affine of that grid)
goes through the steps of a :class:`~custom.preparation.prepare.Preparation`
(:class:`~custom.preparation.subject.Step` shows one).

Order: :class:`~custom.preparation.orient.Orient`; then steps on the scan's own grid (``preparation("standard",
before=[...])`` puts them here: extract the brain, register to a template, correct the bias field);
:class:`~custom.preparation.brain.BrainMask`, which settles what is brain if no step and no file has said so;
:class:`~custom.preparation.smoothing.CurvatureFlow` if wanted; :class:`~custom.preparation.field_of_view.FieldOfView`;
:class:`~custom.preparation.intensity.ScaleIntensity`; :class:`~custom.preparation.to_grid.ToGrid`;
:class:`~custom.preparation.to_grid.ClipAndMask`. A step that moves the scan in the world (a registration, rigid or
affine) puts the way back into :attr:`Subject.to_scan_world`. Images are ``[X, Y, Z]``; two-dimensional ones ``[X, Y, 1]``.
"""
