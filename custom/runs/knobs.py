# SPDX-License-Identifier: Apache-2.0
"""Every setting that a user can turn, with its type, range and meaning in one place: :data:`KNOBS`.

:func:`check_knobs` holds values against it before anything is written, however they came in: ``uad``, MONAI's command line,
its ``--args_file``, an overlay file, or Python. ``docs/knobs.md`` and the tests are made from the same table; defaults stand
in the bundles' files, never here.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..core.errors import ConfigError
from .knob import LARGEST, Knob

_SEED = 2**63 - 1


def _count(text: str, low: int = 1, high: int = LARGEST, nothing: bool = False) -> Knob:
    return Knob("whole number", text, low, high, nothing=nothing)


def _word(text: str, *choices: str, nothing: bool = False) -> Knob:
    return Knob("word", text, choices=choices, nothing=nothing)


_switch, _path = partial(Knob, "true or false"), partial(Knob, "path")

KNOBS: dict[str, Knob] = {
    # where things are
    "dataset_dir": _path("data root with splits, Train and Test (of inference: where scans are looked for)"),
    "output_dir": _path(
        "folder that is written: the model of a training, tables of an evaluation, maps of a prediction"
    ),
    "model_dir": _path("folder of the trained model that is applied"),
    "reconstruction_dir": _path(
        "folder where an evaluation keeps reconstructions; evaluations of one model may share it"
    ),
    "cache_dir": _path("folder of prepared scans, about 3 MB each", nothing=True),
    "bundle": _word("name of the bundle; part of the file, not to be changed"),
    "input": _path("scan, folder of scans or of a DICOM series, or list of paths (.txt)"),
    "mask": _path("brain mask of the scan, or folder of masks called like the scans", nothing=True),
    "tracking_uri": _word("MLflow server or sqlite:/// database; null keeps the local record only", nothing=True),
    "experiment_name": _word("MLflow experiment that the run belongs to"),
    "device": Knob("any", "cpu, cuda:0, ...; by default the first GPU if there is one"),
    "data_device": Knob("any", "where the training volumes lie; by default where it is trained"),
    # data
    "method": _word("name of the method in settings, tables and folders"),
    "dataset_name": _word("data set of healthy scans to train on, for example ixi or demo"),
    "contrast": _word("contrast of the scans: t1, t2 or, in a data set of one's own, any other", nothing=True),
    "fold": _count("fold of the healthy data set", 0, 999),
    "seed": _count("seed of everything that is drawn", 0, _SEED),
    "test_limit": _count(
        "at most this many scans of a group that is only tested; thresholds see all of theirs", nothing=True
    ),
    "promote": _switch("make the calibration of this evaluation that of the model"),
    "limit": _count("at most this many scans of a group; a quick look, whose results are not promoted", nothing=True),
    "more_sources": Knob(
        "any",
        "further healthy cohorts to train on: [{'data_root': ..., 'dataset': ...}, ...], and 'contrast' where it is another",
    ),
    "storage": _word("number format of the training volumes in memory", "float16", "float32"),
    # training
    "max_epochs": _count("epochs in all; an epoch shows slices_per_volume slices of every scan"),
    "batch_size": _count("slices in a step, of all processes together", 1, 65536),
    "micro_batch_size": _count(
        "slices of a step that go through the network together: less memory, the same training; null: all",
        1,
        65536,
        nothing=True,
    ),
    "slices_per_volume": _count("slices drawn of every scan in an epoch", 1, 65536),
    "lr": Knob("number", "learning rate", 0, 1, above=True),
    "lr_half_period": _count("steps after which the learning rate has fallen to its least"),
    "warmup_steps": _count("steps over which the learning rate rises to lr", 0),
    "curriculum_share": Knob("number", "share of the training over which the corruption becomes harder", 0, 1),
    "weight_decay": Knob("number", "decay of the weights in the optimiser", 0, 1),
    "ema_decay": Knob("number", "decay of the averaged weights, which are the ones that are kept", 0, 1, below=True),
    "max_gradient_norm": Knob(
        "number", "gradients are clipped to this norm; null does not", 0, 1e6, above=True, nothing=True
    ),
    "augment": _switch("change intensities at random"),
    "masked_loss": _switch("count the loss inside the brain only"),
    "precision": _word(
        "arithmetic of the network; auto is bf16 where the hardware has it", "fp32", "bf16", "fp16", "auto"
    ),
    "channels_last": _switch("memory order of the network's arrays; faster on some hardware"),
    "compile": _switch("compile the network by torch.compile"),
    "compile_mode": _word(
        "mode of torch.compile", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
    ),
    "val_interval": _count("epochs between two validations"),
    "val_masks": _count("masks of every validation slice, fixed, whose losses are averaged", 1, 1000),
    "val_slices_per_volume": _count("slices of every validation scan", 1, 65536),
    "val_timesteps": Knob("whole numbers", "timesteps that validation goes through, 1 to T", 1, 100_000),
    "checkpoint_interval": _count("epochs between two checkpoints"),
    "loss_interval": _count("steps between two recorded losses"),
    "num_threads": _count("threads of torch on the CPU; null chooses", 1, 4096, nothing=True),
    "resume": _switch("go on from the newest checkpoint of the run folder"),
    "rank": _count("number of this process in a distributed training", 0, 65535),
    "world_size": _count("number of processes in a distributed training", 1, 65536),
    # networks
    "channels": Knob("whole numbers", "channels of the network's levels", 1, 65536),
    "num_res_blocks": Knob("whole numbers", "residual blocks of a level", 1, 64),
    "num_head_channels": Knob("whole numbers", "channels of an attention head", 1, 65536),
    "resblock_updown": _switch("change resolution by residual blocks"),
    "film": _switch("timestep as scale and shift of every residual block, as in the papers' network, instead of a sum"),
    "num_train_timesteps": _count("steps T of the noise schedule", 2, 100_000),
    "prediction_type": _word("what the network predicts", "sample", "epsilon", "v_prediction"),
    "variance_type": _word("variance of a reverse step", "fixed_small", "fixed_large"),
    "clip_sample": _switch("clamp the predicted scan to [-1, 1] in every reverse step"),
    "condition_dim": _count("numbers in the condition, the encoder's output", 1, 65536),
    "encoder_block": _word("residual block of the encoder", "basic", "bottleneck"),
    "encoder_layers": Knob("whole numbers", "residual blocks in each of the encoder's four layers", 1, 200),
    # 16: with fewer channels oneDNN's gradient of a strided 1 x 1 convolution writes outside its memory (AVX-512, torch 2.13)
    "encoder_widths": Knob("whole numbers", "channels of the encoder's four layers", 16, 65536),
    "stem_stride": _count("stride of the encoder's first convolution; 1 halves its total stride of 32 pixels", 1, 2),
    "encoder_dir": _path("run folder of the encoder's pre-training; null: from scratch", nothing=True),
    "encoder_training": _word("what of the encoder is trained", "finetune", "frozen", "frozen_backbone"),
    "decoder_width": _count("channels of the first stage of the decoder in a pre-training", 32, 65536),
    "mask_ratio": Knob("number", "share of masked cells", 0, 1, below=True),
    "cell_px": _count("edge of a masked cell in pixels, a multiple of the encoder's stride", 1, 4096),
    "cells": _word("which cells stay visible: those with brain where possible, or any", "brain", "any"),
    "pix_norm": _switch("reconstruct cells normalised to mean 0 and deviation 1"),
    "temperature": Knob("number", "temperature of the contrastive loss", 0, 100, above=True),
    "epsilon": Knob("number", "margin of the contrastive loss, in logits", 0, 100),
    "contrast_weight": Knob("number", "weight of the contrastive loss beside the masked one", 0, 1e6),
    "original_view": _word("what the encoder sees of the clean view", "dense", "masked"),
    "pool": _word("cells whose features are averaged", "active", "all"),
    "projection_dim": _count("length of the projection head's output; null: no head", 1, 65536, nothing=True),
    "same_subject": _switch("slices of one subject are negatives of each other"),
    "second_view": Knob("any", "augmentation of the second view; null: none", nothing=True),
    "neighbours": _count("neighbouring slices on either side that the network sees", 0, 64),
    "use_severity": _switch("tell the network how strong the corruption is"),
    "use_healthy_mean": _switch("show the network the healthy mean of the slice"),
    "use_mirrored": _switch("show the network the mirrored slice"),
    "patch_px": _count("side of the noised box in pixels (pDDPM); null noises all", 1, 4096, nothing=True),
    "patch_stride_px": _count("distance of two boxes in pixels; null: as long as a box", 1, 4096, nothing=True),
    "variational": _switch("variational autoencoder instead of a plain one"),
    "beta": Knob("number", "weight of the variational loss", 0, 1e6),
    "image_size": _count("side of the network's input in pixels", 8, 4096),
    "latent_size": _count("length of the latent vector", 1, 1_000_000),
    "dropout": Knob("number", "share of dropped activations", 0, 1, below=True),
    "volume_shape": Knob("whole numbers", "voxels of the working grid in x, y, z", 1, 4096),
    # evaluation
    "test_sets": Knob(
        "words",
        "patient data sets to test on; null: all of the contrast that have a test list in the data root",
        nothing=True,
    ),
    "test_split": _word("split that is tested"),
    "tuning_sets": Knob(
        "any", "test set -> data set whose labelled scans tune its threshold; null: its own", nothing=True
    ),
    "healthy_test": _switch(
        "where false positives are counted: true on the healthy test scans; false on one half of the validation scans, the other "
        "calibrates; null on all validation scans, each at the typical and conformal thresholds that the others give",
        nothing=True,
    ),
    "healthy_fprs": Knob(
        "numbers",
        "false-positive rates inside healthy brains that thresholds are made for",
        0,
        1,
        above=True,
        below=True,
    ),
    "sigma_sweep": _switch("report other widths of the SSIM window too"),
    "primary": _word("score that the calibration and the first table are of"),
    "minimum_deviation": Knob("number", "least standard deviation of a voxel, in intensities", 0, 1, above=True),
    "shard": _count("number of this process's share of the scans", 0, 99_999),
    "num_shards": _count("number of shares", 1, 100_000),
    # reconstruction
    "severities": Knob(
        "numbers", "severities that a scan is restored with; scores see all restorations", 0, 1, above=True
    ),
    "test_timesteps": Knob(
        "whole numbers",
        "timesteps that a scan is noised to, 1 to T; of several the reconstructions are averaged",
        1,
        100_000,
    ),
    "contrast_exponent": Knob(
        "number", "power that intensities are raised to, for the study of robustness", 0, 10, above=True
    ),
    "chain_steps": _count("steps of the reverse chain; null: one", 1, 100_000, nothing=True),
    "noise_seed": _count("seed of the noise of the test; null: that of the model", 0, _SEED, nothing=True),
    "draws": _count("noise draws that are averaged", 1, 10_000),
    "first_draw": _count("number of the first noise draw; another one is other noise", 0, 10_000),
    "coherence_slices": _count(
        "slices from one independent noise field to the next; null: one field for the scan", 1, 4096, nothing=True
    ),
    "slice_batch_size": _count(
        "slices in a pass of the network; null: 4 on a CPU, 64 on a GPU", 1, 65536, nothing=True
    ),
    "noise_key": _word("what the noise is seeded with beside the seed: one key for all scans"),
    # prediction
    "score": _word("anomaly score; null: the one that was calibrated", nothing=True),
    "sensitivity": Knob(
        "any", "calibrated threshold by name, or a healthy false-positive rate such as 0.01", nothing=True
    ),
    "threshold": Knob("number", "anomaly score above which a voxel is marked", 0, above=True, nothing=True),
    "output_format": _word("source and dicom write these formats beside NIfTI", "nifti", "source", "dicom"),
    "report": _switch("write HTML pages"),
    "viewer": _word("interactive part of a page; none leaves every script out", "niivue", "none"),
    "view": _word("which side of a picture the patient's left is on", "neurological", "radiological"),
    "scanner": _word("scanner that the scans come from; null takes what their files say", nothing=True),
    "extractor": _word(
        "how the brain of a head is found; auto takes the first that is installed, none refuses heads",
        "auto",
        "hd_bet",
        "deepbet",
        "atlas",
        "none",
    ),
    "register": _word("registration to the training scans' space: auto only heads", "auto", "always", "never"),
    "debug": _switch("stop at the first error and show it in full"),
    "num_workers": _count("processes that read scans ahead", 0, 1024),
}


RENAMED = {
    "results_dir": "the results go to --output_dir, and the model is given by --model_dir",
    "evaluation_dir": "an evaluation writes to --output_dir, and the model is given by --model_dir",
    "run_dir": "the model is given by --model_dir",
    "weights": "the weights are those of the model in --model_dir",
    "t_test": "it is called --test_timesteps",
}


def check_knobs(values: Mapping[str, Any]) -> None:
    """Refuse values out of type or range; expressions of a configuration and unknown names are left to others.

    Args:
        values: by name of the knob; a configuration with everything in it will do.

    Raises:
        ConfigError: with all faults, each naming its knob, what was got and what is expected.
    """
    faults = [
        f"--{name} takes {knob.expected}, got {_shown(values[name])}{_hint(knob, values[name])}"
        for name, knob in KNOBS.items()
        if name in values and not is_expression(values[name]) and not knob.accepts(values[name])
    ]
    steps, total = values.get("val_timesteps"), values.get("num_train_timesteps")
    if not faults and isinstance(total, int) and isinstance(steps, (list, tuple, int)):
        last = max(steps) if isinstance(steps, (list, tuple)) else steps
        if last > total:
            faults = [f"--val_timesteps goes up to {last}, but --num_train_timesteps is {total}"]
    if None not in (values.get("threshold"), values.get("sensitivity")):
        faults.append("--threshold and --sensitivity both decide what is marked: give one of them")
    if faults:
        raise ConfigError(f"{'; '.join(faults)}. See docs/knobs.md for all settings.")


def is_expression(value: Any) -> bool:
    """Tell whether a value of a configuration is computed when it is needed, so that it cannot be judged before."""
    return isinstance(value, dict) or (isinstance(value, str) and value.startswith(("$", "@", "%")))


def _hint(knob: Knob, value: Any) -> str:
    if knob.kind == "path" and isinstance(value, (int, float)):
        return f" (a name of digits alone is read as a number: write ./{value})"
    return ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
