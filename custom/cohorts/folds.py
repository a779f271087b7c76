# SPDX-License-Identifier: Apache-2.0
"""Own subject-level splits: a test set and folds with disjoint validation sets, written in the papers' CSV format.

The order of the subjects is that of SHA-256 of (seed, subject): it depends neither on the file system nor on a random
generator. All scans of a subject stay together. Defaults follow the proportions of the papers for IXI (158 of 560 test,
44 of 402 validation); their circulating lists repeat and leak subjects, see ``custom.cohorts.datasets.public``.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ConfigError, DataError
from ..core.files import atomic_write_text, changing, expanded
from ..core.stamps import is_stamped, stamp_lists
from ..volumes.records import case_id_of, checked_id, list_text, without_nifti_ending
from .datasets import DatasetDeclaration, get_dataset


@dataclass(frozen=True)
class FoldPlan:
    """Subjects of the test set and, per fold, of validation; training is everything else.

    >>> plan = plan_folds((f"P{n}" for n in range(20)), seed=0, folds=2, test_fraction=0.25, val_fraction=0.2)
    >>> len(plan.test), [len(val) for val in plan.val], len(plan.train(fold=0))
    (5, [3, 3], 12)
    """

    test: tuple[str, ...]
    val: tuple[tuple[str, ...], ...]
    subjects: tuple[str, ...]

    def train(self, fold: int) -> tuple[str, ...]:
        """Return the training subjects of a fold."""
        out = {*self.test, *self.val[fold]}
        return tuple(s for s in self.subjects if s not in out)


def hashed_order(subjects: Iterable[str], seed: int) -> list[str]:
    """Return the distinct subjects in the order of SHA-256 of (seed, subject)."""
    return sorted(set(subjects), key=lambda s: (hashlib.sha256(f"{seed}\x1f{s}".encode()).digest(), s))


def plan_folds(
    subjects: Iterable[str], seed: int = 0, folds: int = 5, test_fraction: float = 0.28, val_fraction: float = 0.11
) -> FoldPlan:
    """Divide subjects into a test set and ``folds`` disjoint validation sets.

    ``test_fraction`` is a share of all, ``val_fraction`` of the remaining subjects (rounded, at least one).
    """
    if folds < 1 or not 0 <= test_fraction < 1 or not 0 < val_fraction < 1:
        raise ConfigError(f"need folds >= 1 and fractions in [0, 1): {folds=}, {test_fraction=}, {val_fraction=}")
    order = hashed_order(subjects, seed)
    n_test = round(len(order) * test_fraction)
    rest = order[n_test:]
    n_val = max(1, round(len(rest) * val_fraction))
    if folds * n_val > len(rest) or len(rest) - n_val < 2:
        possible = min(folds, len(rest) // n_val) if len(rest) - n_val >= 2 else 0
        raise DataError(
            f"{len(order)} subjects are too few for {n_test} test subjects and {folds} disjoint validation sets of "
            f"{n_val}, with at least 2 for training; "
            + (f"--folds {possible} is possible" if possible else "more subjects or smaller fractions are needed")
        )
    val = tuple(tuple(rest[k * n_val : (k + 1) * n_val]) for k in range(folds))
    return FoldPlan(tuple(order[:n_test]), val, tuple(order))


def list_scans(
    data_root: str | Path, declaration: DatasetDeclaration, ages: Mapping[str, float]
) -> dict[str, list[dict[str, str]]]:
    """Return subject -> rows in the papers' format for all scans found in the folder of a data set.

    The rows name T1 files as in the papers, also where only another contrast is there; those of a data set without T1
    name its first contrast.
    """
    root, folder = Path(data_root), Path(declaration.folder)
    contrast = next((c for c in declaration.contrasts if (root / folder / c).is_dir()), None)
    files = sorted((root / folder / contrast).glob("*.nii*")) if contrast else []
    named = "t1" if "t1" in declaration.contrasts else declaration.contrasts[0]
    rows: dict[str, list[dict[str, str]]] = {}
    without_seg: list[str] = []
    for file in files:
        case_id = checked_id(case_id_of(file.name, declaration.contrasts), file.name)
        ending = file.name[len(without_nifti_ending(file.name)) :]
        mask, seg = (folder / kind / f"{case_id}_{kind}{ending}" for kind in ("mask", "seg"))
        if not declaration.healthy and not (root / seg).is_file():
            without_seg.append(case_id)
        subject = declaration.subject_of(case_id)
        age = ages.get(subject, ages.get(case_id))
        rows.setdefault(subject, []).append(
            {
                "img_name": f"{case_id}_{named}{ending}",
                "age": "" if age is None else f"{age:g}",
                "label": "0" if declaration.healthy else "1",
                "img_path": f"/{(folder / named / f'{case_id}_{named}{ending}').as_posix()}",
                "mask_path": f"/{mask.as_posix()}" if (root / mask).is_file() else "",
                "seg_path": "" if declaration.healthy else f"/{seg.as_posix()}",
            }
        )
    if without_seg:
        raise DataError(
            f"{declaration.title}: no lesion mask in {root / folder / 'seg'} for {', '.join(without_seg[:20])} "
            f"({len(without_seg)} scans); patients without ground truth cannot be evaluated: add or remove them"
        )
    if not rows:
        raise DataError(f"no scans (*_{named}.nii.gz) in {root / folder / named}. {declaration.how_to_get}")
    return rows


def make_splits(
    data_root: str | Path,
    dataset: str,
    seed: int = 0,
    folds: int = 5,
    test_fraction: float = 0.28,
    val_fraction: float | None = None,
    ages: Mapping[str, float] | None = None,
    force: bool = False,
) -> list[Path]:
    """Write the split lists of a data set and its entry in ``splits.json``; return the files.

    Healthy data sets get train and val per fold and one test list; patient data sets get val (share ``val_fraction``,
    default one third) and test. Existing lists are replaced only with ``force``; those of the same call that was killed
    are completed.
    """
    declaration = get_dataset(dataset, data_root)
    rows = list_scans(data_root, declaration, ages or {})
    if declaration.healthy:
        plan = plan_folds(rows, seed, folds, test_fraction, 0.11 if val_fraction is None else val_fraction)
        lists: dict[str, Sequence[str]] = {declaration.split_file("test"): plan.test} if plan.test else {}
        for fold in range(folds):
            lists[declaration.split_file("train", fold)] = plan.train(fold)
            lists[declaration.split_file("val", fold)] = plan.val[fold]
    else:
        order, share = hashed_order(rows, seed), 1 / 3 if val_fraction is None else val_fraction
        if not 0 < share < 1:
            raise ConfigError(f"val_fraction lies between 0 and 1, got {share}")
        n_val = max(1, round(len(order) * share))
        if n_val >= len(order):
            raise DataError(f"{declaration.title}: {len(order)} subjects are too few for a val and a test list")
        lists = {declaration.split_file("val"): order[:n_val], declaration.split_file("test"): order[n_val:]}
    folder = Path(data_root) / "splits"
    folder.mkdir(parents=True, exist_ok=True)
    texts = {name: list_text(row for s in sorted(subjects) for row in rows[s]) for name, subjects in lists.items()}
    with changing(folder / f"{declaration.name} lists"):
        present = present_lists(data_root, declaration)
        if present and not force and (is_stamped(folder, declaration.name) or not _begun(folder, present, texts)):
            raise ConfigError(f"{', '.join(present)} exist already in {folder}; they are replaced only with --force")
        for name, text in texts.items():
            atomic_write_text(folder / name, text)
        for name in {*present} - {*texts}:
            (folder / name).unlink()
        stamp_lists(folder, declaration.name, texts, seed=seed, subjects=len(rows))
    return [folder / name for name in texts]


def _begun(folder: Path, present: Sequence[str], texts: Mapping[str, str]) -> bool:
    """Tell whether the lists that are there are some of these, as a killed process leaves them."""
    return all(name in texts and (folder / name).read_bytes() == texts[name].encode() for name in present)


def present_lists(data_root: str | Path, declaration: DatasetDeclaration) -> list[str]:
    """Return the names of the lists that a data set has already."""
    patterns = [pattern.replace("{fold}", "*") for pattern in declaration.split_files.values()]
    folder = Path(data_root) / "splits"
    return sorted(file.name for pattern in patterns for file in folder.glob(pattern))


def read_ages(path: str | Path) -> dict[str, float]:
    """Return subject -> age in years from a CSV file with columns subject and age; an empty age is unknown.

    Raises:
        DataError: no such file, another encoding than UTF-8, other columns, no number, or two ages for a subject.
    """
    ages: dict[str, float] = {}
    path = expanded(path)
    for line, row in enumerate(_rows_of(path), start=2):
        where = f"{path.name}, line {line}"
        cells = {(key or "").strip().lower(): (value or "") for key, value in row.items() if isinstance(value, str)}
        if not {"subject", "age"} <= set(cells):
            found = ", ".join(key for key in row if key) or "an empty line"
            raise DataError(f"needs columns subject and age (years), found {found}", case=where)
        subject, text = cells["subject"].strip(), cells["age"].strip()
        if not subject or not text or text.lower() in ("nan", "na", "n/a"):
            continue
        try:
            age = float(text)
        except ValueError as error:
            raise DataError(f"the age of {subject} is not a number: {text!r}", case=where) from error
        if not 0 <= age <= 130:
            raise DataError(f"the age of {subject} is not between 0 and 130 years: {text!r}", case=where)
        if ages.setdefault(subject, age) != age:
            raise DataError(f"two ages for {subject}: {ages[subject]:g} and {age:g}", case=str(path))
    return ages


def _rows_of(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    except csv.Error as error:
        raise DataError(f"is not a CSV file ({error})", case=path.name) from error
    except OSError as error:
        raise DataError(f"cannot read the ages: {error.strerror}; check the path", case=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("the table of ages is not UTF-8 text; save it as 'CSV UTF-8'", case=path.name) from error
