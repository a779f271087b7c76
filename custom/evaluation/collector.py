# SPDX-License-Identifier: Apache-2.0
"""First pass of an evaluation: anomaly maps of every score and post-processing, histograms, and maps kept for later.

A *variant* is one score with one post-processing: ``ssim_ens`` under the protocol's (first) post-processing,
``ssim_ens@none`` under another. Histograms are kept per variant and group, once over the whole grid (the papers'
region: threshold search, average precision) and once inside the brain mask (healthy quantiles). The variant
``uninformative`` is a map that is 1 everywhere, post-processed like the others: what it reaches, any map does that is 0
outside the evaluated region, so it is the level that a score has to beat. Scores relative to healthy scans
(:class:`custom.scoring.HealthyRelative`) wait until all cases are there, see :mod:`.healthy_scores`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as chain_of
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy, ones_like

from ..core.errors import ConfigError
from ..metrics import UNINFORMATIVE, ScoreHistogram
from ..scoring import HealthyRelative, Reconstructions, as_reconstructions, bound
from .spool import CaseInfo, MapSpool

Score = Callable[[Tensor, Reconstructions], Tensor | Mapping[str, Tensor]]
_VOLUMES = ("image", "reconstruction", "mask", "seg")
RAW = ".raw"  # maps that wait for statistics of healthy scans


class MapCollector:
    """Make, count and keep the maps of an evaluation; the memory used does not grow with the number of cases.

    Args:
        scores: ``{name: score(image, reconstructions) -> map or {name: map}}``.
        postprocessings: ``{name: PostProcessing}``; the first is the protocol's, the others are ablations.
        folder: where the maps wait.
        spacing_mm: voxel size of the working grid.
        network: of the model, for scores that need it (:func:`custom.scoring.bound`).

    Attributes:
        unfitted: scores, bound to the network, that need statistics of healthy scans.
        fitted: the same with statistics, once all cases are there.
        quantiles: of single healthy scans, by variant and group, kept by :mod:`.operating_points`.

    >>> import tempfile
    >>> from torch import full, ones
    >>> from custom.postprocessing import none
    >>> from custom.scoring import l1
    >>> image, lesion = full((6, 6, 6), 0.5), full((6, 6, 6), 0.0)
    >>> lesion[2:4, 2:4, 2:4] = 1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collector = MapCollector({"l1": l1}, {"none": none()}, folder, spacing_mm=(2, 2, 2))
    ...     case = CaseInfo("P1", "ms/test", label=1)
    ...     collector.add(case, image + 0.4 * lesion, reconstruction=image, mask=ones(6, 6, 6), seg=lesion)
    ...     collector.variants, collector.volume(case, "l1").shape, collector.whole["l1", "ms/test"].total_anomalous
    (['l1', 'uninformative'], (6, 6, 6), 8)
    """

    def __init__(
        self,
        scores: Mapping[str, Score],
        postprocessings: Mapping[str, Any],
        folder: str | Path,
        spacing_mm: Sequence[float],
        network: Any = None,
    ) -> None:
        taken = sorted(set(scores) & set(_VOLUMES))
        if taken:
            raise ConfigError(f"a score cannot be called {', '.join(taken)}: volumes are kept under these names.")
        self.scores = dict(scores)
        self._bound = {name: bound(score, network) for name, score in self.scores.items()}
        sweeps = [score.members() for score in self.scores.values() if hasattr(score, "members")]
        self._single = {**self.scores, **{name: score for group in sweeps for name, score in group.items()}}
        self.unfitted: dict[str, HealthyRelative] = {
            name: score
            for name, score in self._bound.items()
            if isinstance(score, HealthyRelative) and score.statistics is None
        }
        own = {name: cast(HealthyRelative, self.scores[name]).score for name in self.unfitted}
        self._same = {name: next((n for n, s in self._single.items() if s == own[name]), None) for name in own}
        self.postprocessings = dict(postprocessings)
        self.spacing_mm = tuple(spacing_mm)
        self.spool = MapSpool(folder)
        self.forget()

    def clear(self) -> None:
        """Forget everything collected and delete its maps."""
        self.forget()
        self.spool.remove()

    def forget(self) -> None:
        """Forget everything collected; the maps stay on disk."""
        self.spool.digests.clear()
        self.cases: list[CaseInfo] = []
        self.variants: list[str] = []
        self.fitted: dict[str, Any] = {}
        self.quantiles: dict[tuple[str, str], dict[float, list[float]]] = {}
        self.whole: dict[tuple[str, str], ScoreHistogram] = defaultdict(ScoreHistogram)
        self.brain: dict[tuple[str, str], ScoreHistogram] = defaultdict(ScoreHistogram)

    def add(
        self, case: CaseInfo, image: Tensor, reconstruction: Tensor | Reconstructions, mask: Tensor, seg: Tensor
    ) -> None:
        """Score one case; all volumes are ``[X, Y, Z]`` on the same grid, image and reconstruction in [0, 1].

        Of several reconstructions, the mean is kept.
        """
        reconstructions = as_reconstructions(reconstruction)
        mask, seg = mask.to(image.device) > 0, seg.to(image.device) > 0
        waiting = dict(self.unfitted)
        for name, raw in chain_of(self._maps(image, reconstructions), [(UNINFORMATIVE, ones_like(image))]):
            for other in [other for other in waiting if self._same[other] == name]:  # the map that it compares
                self.spool.put(case, other + RAW, raw.cpu().numpy())
                del waiting[other]
            self.count(case, name, raw, mask, seg)
        for name, score in waiting.items():
            self.spool.put(case, name + RAW, score.score(image, reconstructions).cpu().numpy())
        for name, volume in zip(_VOLUMES, (image, reconstructions.mean, mask, seg), strict=True):
            self.spool.put(case, name, volume.cpu().numpy())
        self.cases.append(case)

    def count(self, case: CaseInfo, name: str, raw: Tensor, mask: Tensor, seg: Tensor) -> None:
        """Post-process the map of a score in every way, count and keep it; all ``[X, Y, Z]``, masks as booleans."""
        for number, (chain, postprocessing) in enumerate(self.postprocessings.items()):
            variant = name if number == 0 else f"{name}@{chain}"
            if variant not in self.variants:
                self.variants.append(variant)
            prepared = postprocessing.prepare(raw, mask, self.spacing_mm)
            self.whole[variant, case.group].update(prepared, seg)
            self.brain[variant, case.group].update(prepared, seg, mask)
            self.spool.put(case, variant, prepared.cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        """Return cases and histograms as tensors, numbers and strings; the maps are on disk already."""
        histograms = {"whole": self.whole, "brain": self.brain}
        return {
            "cases": [(case.case_id, case.group, case.label) for case in self.cases],
            "variants": list(self.variants),
            "map_digests": dict(self.spool.digests),
            **{
                name: [(*key, _as_tensors(found.state_dict())) for key, found in kept.items()]
                for name, kept in histograms.items()
            },
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what another collector with the same settings and spool folder collected of other cases."""
        self.cases += [CaseInfo(*case) for case in state["cases"]]
        self.spool.digests.update(state["map_digests"])
        self.variants += [variant for variant in state["variants"] if variant not in self.variants]
        for kept, name in ((self.whole, "whole"), (self.brain, "brain")):
            for variant, group, histogram in state[name]:
                kept[variant, group].merge(ScoreHistogram.from_state(_as_arrays(histogram)))

    def _maps(self, image: Tensor, reconstructions: Reconstructions) -> Iterator[tuple[str, Tensor]]:
        for name, score in self._bound.items():
            if name in self.unfitted:
                continue
            result = score(image, reconstructions)
            yield from result.items() if isinstance(result, Mapping) else [(name, result)]

    def postprocessing_of(self, variant: str) -> Any:
        """Return the post-processing that belongs to a variant."""
        chain = variant.partition("@")[2]
        return self.postprocessings[chain] if chain else next(iter(self.postprocessings.values()))

    def volumes(self, cases: Sequence[CaseInfo], name: str) -> "_Volumes":
        """Return the volumes of some cases, each loaded when it is asked for; they can be gone through several times."""
        return _Volumes(self, cases, name)

    def score_of(self, variant: str) -> Any:
        """Return the score that makes the maps of a variant, by itself where it is one of a sweep, fitted where it can be.

        Raises:
            ConfigError: there is no such variant.
        """
        name = variant.partition("@")[0]
        found = {**self._single, **self.fitted}
        if name not in found:
            raise ConfigError(f"no score is called {name!r}; there are {', '.join(found)}.")
        return found[name]

    def of_group(self, group: str) -> list[CaseInfo]:
        """Return the cases of a group in the order of their ids."""
        return sorted((case for case in self.cases if case.group == group), key=lambda case: case.case_id)

    def volume(self, case: CaseInfo, name: str) -> NDArray[Any]:
        """Return ``image``, ``reconstruction``, ``mask``, ``seg`` or the map of a variant, ``[X, Y, Z]``."""
        return np.asarray(self.spool.get(case, name))


@dataclass(frozen=True)
class _Volumes:
    """One kind of volume of some cases, loaded one by one."""

    collector: MapCollector
    cases: Sequence[CaseInfo]
    name: str

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self.collector.volume(case, self.name) for case in self.cases)


def _as_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in state.items()}


def _as_arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.numpy() if isinstance(value, Tensor) else value for key, value in state.items()}
