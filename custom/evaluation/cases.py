# SPDX-License-Identifier: Apache-2.0
"""The scans of an evaluation plan, each prepared once."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..cohorts.cases import Case, datalist
from ..cohorts.datasets import get_dataset, known_datasets, tuned_on
from ..cohorts.gate import gate_splits
from ..core.errors import ConfigError
from ..volumes.records import ScanRecord
from .plan import EvaluationPlan, half_of, source_of


def standard_plan(
    dataset_name: str,
    test_sets: Sequence[str] | None = None,
    test_split: str = "test",
    tuning_sets: Mapping[str, str] | None = None,
    healthy_test: bool | None = True,
    healthy_fprs: Sequence[float] = (0.01, 0.05),
    data_root: str | Path = ".",
    contrast: str | None = None,
) -> EvaluationPlan:
    """Return the papers' plan: every test set is tuned on its own labelled validation scans.

    Args:
        dataset_name: healthy data set that the model was trained on; its val split calibrates the healthy thresholds.
        test_sets: names of patient data sets; None: :func:`listed_patients` of the data root.
        test_split: split that is tested.
        tuning_sets: ``{test set: data set its threshold is tuned on}``; a name mapped to "" is not tuned. Others
            use themselves, if they have a val list.
        healthy_test: count false positives on the healthy test split; False: the validation scans are divided by a hash of
            their names, one half calibrates and false positives are counted on the other. None: all of them calibrate, and
            in each, false positives are counted at the thresholds that the others give (leave-one-out).
        healthy_fprs: voxel-wise false-positive rates of the label-free thresholds.
        data_root: its ``dataset.json``, if any, declares further data sets.
        contrast: of the scans; only needed without ``test_sets``.

    Raises:
        ConfigError: unknown data set, a healthy one among the test sets, or a patient one as ``dataset_name``.
    """
    if not get_dataset(dataset_name, data_root).healthy:
        raise ConfigError(f"dataset_name {dataset_name} has patients; the healthy thresholds need healthy scans.")
    if test_sets is None:
        test_sets = listed_patients(data_root, contrast, test_split)
    wrong = [name for name in test_sets if get_dataset(name, data_root).healthy]
    if wrong or not test_sets:
        raise ConfigError(f"test_sets must name patient data sets, got {list(test_sets)}.")
    tuning = {name: tuned_on(name, tuning_sets, data_root) for name in test_sets}
    return EvaluationPlan(
        tests={f"{name}/{test_split}": f"{tuned}/val" if tuned else None for name, tuned in tuning.items()},
        healthy_calibration=f"{dataset_name}/val_calibration" if healthy_test is False else f"{dataset_name}/val",
        healthy_test={True: f"{dataset_name}/test", False: f"{dataset_name}/val_held_out", None: None}[healthy_test],
        healthy_fprs=tuple(healthy_fprs),
    )


def listed_patients(data_root: str | Path, contrast: str | None, split: str = "test") -> list[str]:
    """Return the patient data sets of a contrast (None: of any) that have a list of this split in ``data_root/splits``.

    Raises:
        ConfigError: there is none.
    """
    known = known_datasets(data_root).values()
    patients = [data for data in known if not data.healthy and split in data.split_files]
    lists = Path(data_root) / "splits"
    found = [data for data in patients if (lists / data.split_file(split)).is_file()]
    chosen = [data.name for data in found if contrast is None or contrast in data.contrasts]
    if not chosen:
        other = f" (in other contrasts: {', '.join(data.name for data in found)})" if found else ""
        raise ConfigError(
            f"{lists} has no {split} list of patients with {(contrast or 'any').upper()} scans{other}, so there is nothing to test "
            "on. Make one of scans of patients (`uad splits DATA --dataset NAME`), plant lesions into healthy test scans "
            "(`uad plant DATA --dataset NAME --contrast CONTRAST`), or name data sets by --test_sets."
        )
    return chosen


def evaluation_cases(
    plan: EvaluationPlan,
    data_root: str | Path,
    contrast: str,
    fold: int,
    preparation: Any,
    cache_dir: str | Path | None,
    limit: int | None = None,
    shard: int = 0,
    num_shards: int = 1,
    test_limit: int | None = None,
) -> list[Case]:
    """Return the datalist of all groups of the plan; faulty lists and scans are refused first, all at once.

    Args:
        plan: the groups.
        data_root: folder with ``splits``, ``Train`` and ``Test``.
        contrast, preparation: of the scans.
        fold: fold of the healthy lists.
        cache_dir: folder of the prepared volumes.
        limit: at most this many scans of a group (a quick look; it changes the data digest of the protocol).
        shard: number of the share of the scans that is returned, 0 ... num_shards - 1.
        test_limit: at most this many scans of a test group; the calibration still sees all of its scans.
        num_shards: number of shares; scans are dealt out in turn over all groups, and others are not prepared.

    Raises:
        ConfigError: no such share, or nothing in it.
    """
    if not 0 <= shard < num_shards:
        raise ConfigError(f"shard {shard} does not exist among {num_shards}; they are numbered from 0.")
    seen = 0

    def share(records: Sequence[ScanRecord], most: int | None, half: str | None) -> list[ScanRecord]:
        nonlocal seen
        wanted = half_of([record.case_id for record in records], half)
        records = [record for record in records if record.case_id in wanted][:most]
        offset, seen = (shard - seen) % num_shards, seen + len(records)
        return records[offset::num_shards]

    cases: list[Case] = []
    for group in plan.groups:
        limits = [number for number in (limit, test_limit if group in plan.only_tested else None) if number is not None]
        name, split, half = source_of(group)
        chosen = partial(share, most=min(limits, default=None), half=half)
        of_fold = fold if get_dataset(name, data_root).healthy else None
        gate_splits(data_root, name, contrast, of_fold, (split,))
        found = datalist(data_root, name, split, contrast, of_fold, preparation, cache_dir, only=chosen)
        cases += [case | {"role": group} for case in found]
    if not cases:
        raise ConfigError(f"shard {shard} of {num_shards} is empty: there are {seen} scans; take fewer shards.")
    return cases
