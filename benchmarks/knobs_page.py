# SPDX-License-Identifier: Apache-2.0
"""``docs/knobs.md``, made from the table of settings and the bundles' files: ``python -m benchmarks.knobs_page docs/knobs.md``."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from custom.core.files import atomic_write_text
from custom.core.resources import bundle_folder, bundle_names
from custom.runs.knob import Knob
from custom.runs.knobs import KNOBS

STAGES = {
    "train": "train",
    "spark_pretraining": "train --stage spark_pretraining",
    "evaluate": "evaluate",
    "inference": "predict",
}
_HEAD = """# Settings

Made by `make docs` from `custom/runs/knobs.py` and the bundles' files; a test compares them. On the command line of `uad`
and of `python -m monai.bundle run` a setting is given as `--name value`; in a file of your own, which is laid over the
bundle's (`--preset FILE`), as `"name": value`. A value of another type or out of range is refused before anything is
written.

MONAI's own command line reads a value that begins with `%`, `$` or `@` as configuration and `#` as `::`: write `./%name` for such a
file or folder, avoid `#`, or use `uad`, which takes any name.

"computed" means: worked out at the start, mostly from other settings or from the trained model.

| setting | type and range | default | taken by | meaning |
|---|---|---|---|---|
"""


def knobs_page() -> str:
    """Return the page."""
    found = defaults()
    rows = [_row(name, knob, found.get(name, {})) for name, knob in KNOBS.items() if name in found]
    return _HEAD + "\n".join(rows) + "\n\n## Presets\n\n" + "\n".join(_presets()) + "\n"


def defaults() -> dict[str, dict[tuple[str, str], Any]]:
    """Return the settings of all bundles: name -> {(stage, bundle): default}."""
    found: dict[str, dict[tuple[str, str], Any]] = {}
    for bundle in bundle_names():
        for stage in STAGES:
            path = bundle_folder(bundle) / "configs" / f"{stage}.json"
            for name, value in (_top(path) if path.is_file() else {}).items():
                found.setdefault(name, {})[stage, bundle] = value
    return found


def _top(path: Path) -> dict[str, Any]:
    """Return the entries of a configuration that stand above its parts."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    names = list(content)
    return {name: content[name] for name in (names[: names.index("imports")] if "imports" in names else names)}


def _row(name: str, knob: Knob, known: Mapping[tuple[str, str], Any]) -> str:
    stages = ", ".join(f"`{shown}`" for stage, shown in STAGES.items() if any(key[0] == stage for key in known))
    return f"| `{name}` | {knob.expected} | {_default(known)} | {stages} | {knob.help} |"


def _default(known: Mapping[tuple[str, str], Any]) -> str:
    of: dict[str, list[str]] = {}
    for (stage, bundle), value in known.items():
        of.setdefault(_text(value), []).append(f"{bundle.removesuffix('_baseline')} {STAGES[stage]}")
    if len(of) == 1:
        return next(iter(of))
    counted = sorted(of.items(), key=lambda item: -len(item[1]))
    if counted[0][0] == "computed" and len(counted) == 2:
        return f"{counted[1][0]} ({', '.join(_stages(counted[1][1]))}), else computed"
    most, *others = counted
    return "; ".join([most[0], *(f"{text} ({', '.join(_stages(where))})" for text, where in others)])


def _stages(where: list[str]) -> list[str]:
    stages = {text.split()[1] for text in where}
    bundles = list(dict.fromkeys(text.split()[0] for text in where))
    return bundles if len(bundles) <= 2 else sorted(stages)


def _text(value: Any) -> str:
    if isinstance(value, dict) or (isinstance(value, str) and value.startswith(("$", "@", "%"))):
        return "computed"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _presets() -> Iterator[str]:
    for bundle in bundle_names():
        for path in sorted((bundle_folder(bundle) / "configs").glob("*.json")):
            if path.stem in (*STAGES, "model", "metadata", "pretrain"):
                continue
            content = json.loads(path.read_text(encoding="utf-8"))
            values = ", ".join(f"`{k}` {json.dumps(v)}" for k, v in content.items() if k in KNOBS)
            yield f"* `{bundle}`, preset `{path.stem}`: {values or 'other parts, no other settings'}"


if __name__ == "__main__":
    atomic_write_text(sys.argv[1], knobs_page())
