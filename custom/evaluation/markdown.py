# SPDX-License-Identifier: Apache-2.0
"""``report.md``: what an evaluation found, in tables that say how they are to be read."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..metrics import INDISCRIMINATE_FPR, UNINFORMATIVE

HOW_TO_READ = f"""A row is a score; `name@chain` is the score under another post-processing. **Bold** is the best row of a column, (primary)
the score that the calibration and the pictures are of. `{UNINFORMATIVE}` is a map that is 1 everywhere in the evaluated region
(the brain mask after its post-processing) and 0 outside: a score that does not exceed it knows nothing about the lesions.

- AP, pooled: average precision of one ranking of the voxels of all scans. AP, mean: mean of the scans' own. x: as a multiple of
  that of the uninformative map.
- Scan AUROC: how well the mean score in the brain tells patients from held-out healthy scans. Scanners differ too: never
  evidence by itself.
- `tuned`, `interval_search`: threshold with the best pooled Dice on labelled validation scans; `healthy_fpr_r`: at most the share r
  of the brain of healthy calibration scans lies above; `conformal_r`: in most new healthy scans at most r lies above; `oracle`:
  best mean Dice on the test scans themselves, after the whole chain: an upper bound, never a result.
- Numbers are in % unless said otherwise, means over scans. In brackets [a, b]: 95 % BCa bootstrap interval over scans, from ten
  scans on; in parentheses (a to b): the range of fewer scans, which is no interval."""


def markdown_report(
    protocol: Mapping[str, Any], summary: Mapping[str, Any], primary: str = "", pictures: Sequence[str] = ()
) -> str:
    """Return the tables of an evaluation as Markdown, a block per data set.

    Args:
        protocol: block of ``metrics.json``.
        summary: ``datasets`` and ``healthy`` of it.
        primary: row that is marked.
        pictures: paths of the figures, relative to the report.
    """
    lines = [f"# {protocol.get('method', 'Evaluation')}, {protocol.get('contrast', '')}", ""]
    lines += [f"Protocol `{protocol['key']}`: {protocol.get('description', 'see metrics.json')}", ""]
    lines += [
        *_in_short(summary["datasets"], primary, bool(pictures)),
        "## How to read the tables",
        "",
        HOW_TO_READ,
        "",
    ]
    for dataset, block in summary["datasets"].items():
        lines += _dataset(dataset, block, primary)
    for group, block in summary["healthy"].items():
        lines += _healthy(group, block, primary)
    if pictures:
        variants = {variant for block in summary["datasets"].values() for variant in block["variants"]}
        captions = {path: caption(path, variants) for path in pictures}
        lines += ["## Pictures", "", *(f"{text}:\n\n![{text}]({path})\n" for path, text in captions.items())]
    return "\n".join(lines)


def _in_short(datasets: Mapping[str, Any], primary: str, pictures: bool) -> list[str]:
    """Return the summary: the best and the primary score of every data set, beside a map that knows nothing."""
    lines = [
        "## In short",
        "",
        f"Average precision over the voxels of all scans, in % and as a multiple of that of the `{UNINFORMATIVE}` map:",
        "",
        "| data set | scans | best score | AP | x | primary score | AP | x |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dataset, block in datasets.items():
        pooled = {name: found["pooled"] for name, found in block["variants"].items()}
        known = {
            name: found["average_precision"]
            for name, found in pooled.items()
            if name.partition("@")[0] != UNINFORMATIVE and found["average_precision"] is not None
        }
        best = max(known, key=lambda name: known[name], default="")
        cells = [f"{name or '-'} | {_precision(pooled.get(name))}" for name in (best, primary)]
        lines.append(f"| {dataset} | {block['cases']} | {' | '.join(cells)} |")
    if pictures:
        lines += ["", "Pictures of the scans with the largest lesions, and curves, stand at the end and in `figures/`."]
    return [
        *lines,
        "",
        "Which of many scores is the best was seen on these test scans: it is no result, the primary score is.",
        "",
    ]


def _precision(pooled: Mapping[str, Any] | None) -> str:
    return f"{_share(pooled['average_precision'])} | {_times(pooled.get('over_uninformative'))}" if pooled else "- | -"


def caption(path: str, variants: Collection[str] = ()) -> str:
    """Return in words what a figure of an evaluation shows.

    Args:
        path: of the figure, relative to the report.
        variants: names of scores, with which names of pictures of scans end.

    >>> caption("figures/cases/demo_ms/MS_04_ssim_ens.png", ["ens", "ssim_ens"]), caption("figures/precision_recall_demo_ms.png")
    ('MS_04 (demo_ms), score ssim_ens', 'Precision and recall on demo_ms')
    """
    place, _, name = path.removesuffix(".png").rpartition("/")
    if place.rpartition("/")[0].endswith("cases"):
        score = max((v for v in variants if name.endswith(f"_{v}")), key=len, default="")
        case = name.removesuffix(f"_{score}") if score else name
        return f"{case} ({place.rpartition('/')[2]}){f', score {score}' if score else ''}"
    if name.startswith("precision_recall_"):
        return f"Precision and recall on {name.removeprefix('precision_recall_')}"
    known = {
        "healthy_histogram": "The primary score in healthy brains and in lesions, with the thresholds that healthy scans give",
        "sigma_sweep": "Dice of SSIM at each of its widths, beside SSIM-ens and l1",
    }
    return known.get(name, name.replace("_", " ").capitalize())


def _dataset(dataset: str, block: Mapping[str, Any], primary: str) -> list[str]:
    variants: Mapping[str, Any] = block["variants"]
    names = list(dict.fromkeys(name for found in variants.values() for name in found["operating_points"]))
    lines = [f"## {dataset} ({block['cases']} scans)", ""]
    ranking = {
        variant: [
            (found["pooled"]["average_precision"], _share(found["pooled"]["average_precision"])),
            (None, _times(found["pooled"].get("over_uninformative"))),
            (_mean(found["per_case"].get("average_precision")), spread(found["per_case"].get("average_precision"))),
            (None, _times((found["per_case"].get("average_precision") or {}).get("over_uninformative"))),
            (None, _share(found.get("scan_level", {}).get("auroc"))),
        ]
        for variant, found in variants.items()
    }
    lines += _table(["AP, pooled", "x", "AP, mean", "x", "scan AUROC"], ranking, primary)
    dice, above, lesions = {}, {}, {}
    for variant, found in variants.items():
        points = [found["operating_points"].get(name, {}) for name in names]
        cells = [point.get("per_case", {}).get("dice") for point in points]
        dice[variant] = [(_mean(cell), spread(cell)) for cell in cells]
        above[variant] = [(None, _share(point.get("healthy_fpr"))) for point in points]
        lesions[variant] = [(None, _lesions(point.get("lesion_wise"))) for point in points]
    lines += ["Dice:", "", *_table(names, dice, primary)]
    held_out = any(p.get("healthy_fpr_held_out") for v in variants.values() for p in v["operating_points"].values())
    scans = "scans that no threshold comes from" if held_out else "the CALIBRATION scans (there are no others)"
    lines += [f"Share of the healthy brain above the threshold, on {scans}:", "", *_table(names, above, primary)]
    lines += [f"Lesions, recall / precision / F1 ({block.get('lesion_criterion', '')}):", ""]
    lines += _table(names, lesions, primary)
    blind = [v for v, f in variants.items() if v.partition("@")[0] != UNINFORMATIVE and _tuned_is_blind(f)]
    if blind:
        lines += [
            f"These scores do not find the lesions of {dataset}; their tuned threshold marks more than "
            f"{INDISCRIMINATE_FPR:.0%} of the healthy brain: {', '.join(blind)}. Lesion-wise numbers are void there.",
            "",
        ]
    if primary in variants:
        lines += [f"Thresholds of {primary}:", ""]
        lines += [
            f"- {name} {point['threshold']:.6g}: {point['source']}"
            for name, point in variants[primary]["operating_points"].items()
        ]
        lines.append("")
    return lines


def _healthy(group: str, block: Mapping[str, Any], primary: str) -> list[str]:
    names = list(dict.fromkeys(n for v in block["variants"].values() for n in v))
    rows = {
        variant: [
            (None, f"{found[n]['per_case']['fp_ml']['mean']:.1f} ({_share(found[n]['brain_share_above'])} %)")
            if n in found
            else (None, "-")
            for n in names
        ]
        for variant, found in block["variants"].items()
    }
    calibration = block.get("role") == "calibration"
    return [
        f"## Healthy scans: {group} ({block['cases']} scans, {block.get('role', '')})",
        "",
        "False-positive volume in ml, mean over scans, and in parentheses the share of the brain above the threshold."
        + (
            " The label-free thresholds come from these scans: their rates are what they were made to be." * calibration
        ),
        "",
        *_table(names, rows, primary),
    ]


def _table(head: Sequence[str], rows: Mapping[str, Sequence[tuple[float | None, str]]], primary: str) -> list[str]:
    """Return a table; a cell is (number to compare or None, text), and the largest number of a column is bold."""
    best = []
    for column in range(len(head)):
        numbers = [v for name, cells in rows.items() if name != UNINFORMATIVE and (v := cells[column][0]) is not None]
        best.append(max(numbers, default=None))
    lines = ["| score | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    for name, cells in rows.items():
        texts = [f"**{t}**" if v is not None and v == best[i] and v > 0 else t for i, (v, t) in enumerate(cells)]
        lines.append(f"| {name}{' (primary)' if name == primary else ''} | " + " | ".join(texts) + " |")
    return [*lines, ""]


def _tuned_is_blind(found: Mapping[str, Any]) -> bool:
    return bool(found["operating_points"].get("tuned", {}).get("indiscriminate"))


def _mean(summary: Mapping[str, Any] | None) -> float | None:
    return None if not summary else summary["mean"]


def spread(summary: Mapping[str, Any] | None, scale: float = 100.0) -> str:
    """Return a mean with its interval, or with the range of fewer than ten scans.

    >>> spread({"mean": 0.5, "n": 12, "min": 0.1, "max": 0.9, "ci_low": 0.4, "ci_high": 0.6})
    '50.0 [40.0, 60.0]'
    >>> spread({"mean": 0.5, "n": 3, "min": 0.1, "max": 0.9, "ci_low": None, "ci_high": None})
    '50.0 (10.0 to 90.0)'
    """
    if not summary or summary["mean"] is None:
        return "-"
    text = f"{scale * summary['mean']:.1f}"
    if summary.get("ci_low") is not None:
        return f"{text} [{scale * summary['ci_low']:.1f}, {scale * summary['ci_high']:.1f}]"
    if summary.get("n", 0) > 1 and summary.get("min") is not None:
        return f"{text} ({scale * summary['min']:.1f} to {scale * summary['max']:.1f})"
    return text


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _lesions(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "-"
    if "void" in found:
        return "void"
    return " / ".join(_share(found[f"lesion_{name}"]) for name in ("recall", "precision", "f1"))
