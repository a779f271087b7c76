# SPDX-License-Identifier: Apache-2.0
"""The card of a model: what it is, what it was trained on, what it finds and what not. Every number is read from a result.

Read: ``model.json`` of the model, ``run.json`` of its training, ``metrics.json`` and ``per_case.csv`` of evaluations of
exactly these weights, ``DEMO.json`` of a synthetic cohort that it was trained on, and lists with the age and sex of people.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from ..cohorts.datasets import DATASETS
from ..core.digests import read_checked_json
from ..core.errors import ConfigError
from ..core.files import atomic_write_text
from ..core.resources import PREFERRED_BUNDLE
from ..core.stamps import FORMER_COHORT
from ..models.weights import metadata_of
from ..prediction.calibration import doubt_about
from ..runs.model_folder import ModelFolder
from ..volumes.records import case_id_of

AGAIN = "copy it again from the run."
SYNTHETIC = "demo"
SIZES = {
    "0_to_100_mm3": "below 0.1 ml", "100_to_1000_mm3": "0.1 to 1 ml", "1000_to_10000_mm3": "1 to 10 ml",
    "10000_and_more_mm3": "10 ml and more",
}  # fmt: skip
AGES = {"below 40": (0.0, 40.0), "40 to 60": (40.0, 60.0), "60 and more": (60.0, 200.0)}
WEAK = 2
SEXES = {"F": "women", "M": "men"}


def write_card(
    model_dir: str | Path,
    run_dir: str | Path,
    evaluations: Sequence[str | Path],
    cohorts: Sequence[str | Path] = (),
    people: Sequence[str | Path] = (),
) -> Path:
    """Write ``card.md`` into the model's folder and return its path.

    Args:
        model_dir: calibrated model, which was trained in ``run_dir``.
        evaluations: folders with a ``metrics.json`` of this model.
        cohorts: data roots of synthetic cohorts that it was trained on.
        people: split lists (``img_name, age, sex``) of the healthy scans, for false positives by age and sex.

    Raises:
        ConfigError: a model without calibration, or an evaluation of other weights.
    """
    model = ModelFolder.read(model_dir)
    if model.calibration is None:
        raise ConfigError(f"the model in {model.folder} has no calibration; evaluate it with --promote True first.")
    results = [read_checked_json(Path(folder) / "metrics.json", AGAIN) for folder in evaluations]
    for folder, result in zip(evaluations, results, strict=True):
        if result["protocol"].get("weights_sha256") != model.weights_sha256:
            raise ConfigError(f"the evaluation in {folder} is of other weights than those in {model.folder}.")
    run = read_checked_json(Path(run_dir) / "run.json", AGAIN)
    lines = [
        f"# {model.folder.name}: {model.method}, {model.contrast.upper()}",
        "",
        "Research only; not a medical device. Written by `uad card` from result files.",
        "",
    ]
    if model.bundle != PREFERRED_BUNDLE:
        lines += ["For reference beside the restoration models; taken only when it is named.", ""]
    lines += [*_training(model, run, cohorts), *_use(model.calibration, model)]
    for folder, result in zip(evaluations, results, strict=True):
        lines += [*_healthy(result, model.calibration), *_by_person(Path(folder), result, model.calibration, people)]
        lines += _patients(result, model.calibration)
    path = model.folder / "card.md"
    atomic_write_text(path, "\n".join(lines).rstrip() + "\n")
    return path


def _training(model: ModelFolder, run: Mapping[str, Any], cohorts: Sequence[str | Path]) -> Iterator[str]:
    header = metadata_of(model.weights)
    minutes = (datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"])).total_seconds() / 60
    names = model.content["training"].get("sources") or [model.dataset]
    yield from ["## Training", "", "| | |", "|---|---|"]
    for name in names:
        known = DATASETS.get(name)
        yield f"| data | {known.title}: {known.citation}; {known.licence} |" if known else f"| data | {name} |"
    yield f"| weights | iteration {header.get('iteration', '?')}, chosen by the validation metric ({float(header.get('validation') or 0):.4f}, 0 is perfect); {model.weights.stat().st_size / 1e6:.1f} MB, SHA-256 {model.weights_sha256} |"
    yield f"| time | {minutes:.0f} minutes from start to end, one thread, beside other work on the machine |"
    yield f"| software | {', '.join(f'{name} {version}' for name, version in run['versions'].items() if name in ('python', 'torch', 'monai'))} |"
    yield from ["", "Train it again from scratch:", "", "```"]
    for root in cohorts:
        made = read_checked_json(Path(root) / "DEMO.json", AGAIN, FORMER_COHORT)
        counts = made["counts"]
        yield (
            f"uad cohort SYNTHETIC --healthy {counts['healthy']} --healthy_test {counts['healthy_test']} "
            f"--patients_val {counts['patients_val']} --patients_test {counts['patients_test']} --seed {made['seed']} "
            f"--variety {made['variety']}{' --flair' if 'flair' in made.get('contrasts', ()) else ''}"
            f"{' --spacing_mm 1' if made.get('spacing_mm') == 1 else ''}"
        )
    yield _public_command(run["command"], cohorts)
    yield from ["```", ""]


def _public_command(command: Sequence[str], cohorts: Sequence[str | Path]) -> str:
    """Return the command of a run with the names of folders in the place of this machine's paths."""
    program = ["python", "-m", "monai.bundle"] if command[1] == "run" else ["uad"]
    words = [*program, *(str(word) for word in command[1:])]
    synthetic = {Path(root).resolve() for root in cohorts}
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("/") or before.endswith("_dir"):
            name = {"-o": "OUTPUT"}.get(before, before.lstrip("-").upper())
            word = "SYNTHETIC" if Path(word).resolve() in synthetic else name
        word = re.sub(r"(['\"]data_root['\"]\s*:\s*)['\"][^'\"]*['\"]", r"\1'SYNTHETIC'", word)
        shown.append(f'"{word}"' if re.search(r"[\s'\[{]", word) else word)
    return " ".join(shown)


def _use(calibration: Mapping[str, Any], model: ModelFolder) -> Iterator[str]:
    yield from ["## Score and thresholds", "", f"Score: `{calibration['score']}`. Thresholds, the default first:", ""]
    quantiles = list(zip(*calibration["healthy_quantiles"].values(), strict=True))
    for name, entry in calibration["thresholds"].items():
        doubt = doubt_about(float(entry["value"]), quantiles)
        yield f"- `{name}` {entry['value']:.4g}: {'; '.join(filter(None, (entry['source'], doubt)))}"
    declared = DATASETS.get(model.dataset)
    title = declared.title if declared else model.dataset
    yield from ["", f"They were measured on {calibration['healthy_scans']} healthy scans of {title}."]
    if model.dataset == SYNTHETIC:
        yield "These brains are synthetic: on real scans the rates of false positives may be others."
    yield "On scans of another scanner or preparation the ranks within a scan hold better than the thresholds do."
    yield ""


def _healthy(result: Mapping[str, Any], calibration: Mapping[str, Any]) -> Iterator[str]:
    score, shown = calibration["score"], _shown(calibration)
    yield from ["## Healthy scans: what is marked by mistake", ""]
    yield "| scans | threshold | ml a scan: mean | median | largest | scans with any |"
    yield "|---|---|---|---|---|---|"
    for group, block in result["healthy"].items():
        for name, point in block["variants"].get(score, {}).items():
            if name not in shown:
                continue
            found = point["false_positives"]
            marked = f"{int(found['flagged_scans'])} of {int(found['scans'])}"
            numbers = [found[f"false_positive_ml_{part}"] for part in ("mean", "median", "max")]
            cells = " | ".join(f"{number:.1f}" for number in numbers)
            yield f"| {group} ({block.get('role', '')}) | {name} | {cells} | {marked} |"
    yield ""


def _by_person(
    evaluation: Path, result: Mapping[str, Any], calibration: Mapping[str, Any], people: Sequence[str | Path]
) -> Iterator[str]:
    """Yield false positives by age and sex, of the healthy scans that the lists know."""
    known: dict[str, dict[str, str]] = {}
    for path in people:
        with open(path, encoding="utf-8", newline="") as stream:
            known |= {case_id_of(row["img_name"]): row for row in csv.DictReader(stream)}
    with open(evaluation / "per_case.csv", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["group"] in result["healthy"]]
    score, point = calibration["score"], next(iter(calibration["thresholds"]))
    marked = {r["case_id"]: float(r["fp_ml"]) for r in rows if (r["variant"], r["operating_point"]) == (score, point)}
    found = [(known[case], ml) for case, ml in marked.items() if case in known]
    if not found:
        yield from ["Age and sex of these scans are not known to the package.", ""]
        return
    yield f"By age and sex, where known, at {point}, calibration scans included ({len(found)} scans; few, so read the ranges):"
    yield from ["", "| | scans | ml a scan: mean | smallest | largest |", "|---|---|---|---|---|"]
    aged = [(float(who["age"]), ml) for who, ml in found if who["age"]]
    groups = {name: [ml for age, ml in aged if low <= age < high] for name, (low, high) in AGES.items()}
    if any(who.get("sex") for who, _ in found):
        groups |= {words: [ml for who, ml in found if who.get("sex") == sex] for sex, words in SEXES.items()}
    for name, values in groups.items():
        numbers = (sum(values) / len(values), min(values), max(values)) if values else ()
        cells = " | ".join(f"{number:.1f}" for number in numbers) or "- | - | -"
        yield f"| {name} | {len(values)} | {cells} |"
    yield ""


def _patients(result: Mapping[str, Any], calibration: Mapping[str, Any]) -> Iterator[str]:
    score, shown = calibration["score"], _shown(calibration)
    yield from ["## Lesions: what is found", "", "AP and Dice in %; AP of a map that knows nothing in parentheses.", ""]
    yield "| data set | scans | AP | threshold | Dice | ml marked by mistake | " + " | ".join(SIZES.values()) + " |"
    yield "|" + "---|" * (6 + len(SIZES))
    blind: dict[str, list[str]] = {}
    weak = []
    for dataset, block in result["datasets"].items():
        found = block["variants"][score]
        nothing = block["variants"].get("uninformative", {}).get("pooled", {}).get("average_precision")
        if nothing and (found["pooled"]["average_precision"] or 0) < WEAK * nothing:
            weak.append(dataset)
        for name, point in found["operating_points"].items():
            if name not in shown:
                continue
            sizes = [_found(point["lesion_wise"], key) for key in SIZES]
            precision = f"{_percent(found['pooled']['average_precision'])} ({_percent(nothing)})"
            dice, wrong = (point["per_case"][key]["mean"] for key in ("dice", "fp_ml"))
            yield (
                f"| {dataset} | {block['cases']} | {precision} | {name} | {_percent(dice)} | "
                f"{'-' if wrong is None else f'{wrong:.1f}'} | {' | '.join(sizes)} |"
            )
            for key, words in SIZES.items():
                if point["lesion_wise"].get(f"lesion_recall_{key}") == 0 and name == shown[0]:
                    blind.setdefault(f"{dataset} at {name}", []).append(words)
    yield from [
        "",
        "Sizes: share in % of the lesions of that size that are found (intersection over union of at least 0.1), its 95 % interval",
        "(Wilson), and their number. Lesions of one scan are not independent, nor are several lesions planted into one brain one after",
        "the other, so the true intervals are wider.",
        "",
    ]
    if weak:
        yield from [f"AP below {WEAK} times that of a map that knows nothing, so of little use: {', '.join(weak)}.", ""]
    if blind:
        yield from ["What it did not see at all:", ""]
        yield from (f"- {place}: lesions of {', '.join(words)}" for place, words in blind.items())
        yield ""


def _shown(calibration: Mapping[str, Any]) -> list[str]:
    """Return the default threshold and the conformal one: the others are between or beyond them."""
    first, *others = calibration["thresholds"]
    return [first, *(name for name in others if name.startswith("conformal"))]


def _found(lesions: Mapping[str, Any], size: str) -> str:
    share, count = lesions.get(f"lesion_recall_{size}"), lesions.get(f"lesions_{size}")
    if share is None or not count:
        return "-"
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return f"{100 * share:.0f} ({100 * interval.low:.0f} to {100 * interval.high:.0f}) of {count}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
