# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from custom.cohorts.cases import Case
from custom.core.errors import ConfigError
from custom.core.foreseen import find_foreseen
from custom.core.resources import rooted
from custom.evaluation import MapCollector, evaluation_cases, merge_shards, save_shard, standard_plan
from custom.evaluation.shards import shard_path
from custom.evaluation.spool import CaseInfo
from custom.models.weights import save_weights
from custom.postprocessing import none
from custom.runs.model_folder import ModelFolder
from custom.scoring import l1

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("shard_cohort_conftest", ROOT / "tests" / "bundles" / "conftest.py")
cohort = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cohort)
tiny_cohort = cohort.tiny_cohort

REPORT = {  # without figures
    "_target_": "custom.evaluation.EvaluationReport",
    "measurer": {"_target_": "custom.evaluation.Measurer"}, "folder": "@output_dir", "primary": "@primary",
    "protocol": "@protocol", "reconstruction": "@reconstruction_settings", "limit": "@limit",
}  # fmt: skip
REVISION = "fixed: shards of different commits would rightly be refused"
NETWORK = {"channels": [32, 32, 32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False}


def _model(folder: Path) -> Path:
    """A network with random weights in the place of a trained one."""
    training = json.loads((ROOT / "bundles/ddpm_ssim_ens/configs/train.json").read_text())
    parts = ConfigParser(rooted(training) | NETWORK).get_parsed_content("parts")
    model = ModelFolder.define(
        folder,
        bundle="ddpm_ssim_ens",
        method="ddpm_ssim_ens",
        contrast="t2",
        dataset="demo",
        fold=0,
        seed=7,
        parts=parts,
    )
    torch.manual_seed(0)
    network = model.network()
    for parameter in network.parameters():  # the last layer starts at zero
        torch.nn.init.normal_(parameter, std=0.05)
    save_weights(network.state_dict(), folder / "model.safetensors", {})
    model.seal()
    return folder


@pytest.fixture(scope="module")
def evaluated(tiny_cohort, tmp_path_factory):
    """A model and its evaluation by one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("custom.evaluation.protocol.source_revision", lambda *_: REVISION)
        model = _model(tmp_path_factory.mktemp("single") / "model")
        _run("evaluating", tiny_cohort, model, sharded=False, promote=True)
    return model


def _run(what: str, data: Path, model: Path, sharded: bool, **overrides) -> None:
    files = [
        "bundles/ddpm_ssim_ens/configs/evaluate.json",
        *(["custom/configs/sharded_evaluate.json"] if sharded else []),
    ]
    settings = {
        "dataset_dir": str(data), "model_dir": str(model), "test_sets": ["demo_tumour"], "sigma_sweep": False, "draws": 1, "primary": "l1",
        "scores": {"l1": "%custom/configs/scoring.json::l1", "l1_over_healthy": "%custom/configs/scoring.json::l1_over_healthy"}, "report": REPORT, **overrides,
    }  # fmt: skip
    workflow = ConfigWorkflow(
        files, logging_file=False, workflow_type="infer", run_id=what, init_id="", final_id="", **settings
    )
    workflow.run()


def test_the_merged_result_is_exactly_that_of_one_process(tiny_cohort, evaluated, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("custom.evaluation.protocol.source_revision", lambda *_: REVISION)
    single, sharded = evaluated, _model(tmp_path / "sharded")
    with pytest.raises(RuntimeError) as wrapped:
        _run("merging", tiny_cohort, sharded, sharded=True, num_shards=2)
    assert "shard(s) 0, 1 of 2 have not finished" in str(find_foreseen(wrapped.value))
    for shard in (1, 0):
        _run("evaluating", tiny_cohort, sharded, sharded=True, shard=shard, num_shards=2)
    assert not (sharded / "evaluation" / "metrics.json").exists()
    _run("merging", tiny_cohort, sharded, sharded=True, num_shards=2)

    def files(model: Path) -> dict[str, bytes]:
        names = ("metrics.json", "per_case.csv", "calibration.json", "report.md")
        return {name: (model / "evaluation" / name).read_bytes() for name in names}

    assert files(sharded) == files(single)
    reconstructions = [
        {p.name: p.read_bytes() for p in (m / "evaluation/reconstructions").iterdir()} for m in (single, sharded)
    ]
    assert reconstructions[0] == reconstructions[1]
    assert len(reconstructions[0]) == 8


def _predict(model: Path, scans: Path, results: Path, sharded: bool, **overrides) -> dict[str, bytes]:
    overlay = ["custom/configs/sharded_inference.json"] if sharded else []
    settings = {
        "model_dir": str(model),
        "input": str(scans),
        "output_dir": str(results),
        "report": False,
        **overrides,
    }
    files = ["bundles/ddpm_ssim_ens/configs/inference.json", *overlay]
    ConfigWorkflow(
        files, logging_file=False, workflow_type="infer", run_id="inference", init_id="", final_id="", **settings
    ).run()
    return {str(path.relative_to(results)): path.read_bytes() for path in results.rglob("*.nii.gz")}


def test_sharded_inference_gives_the_files_of_one_process(tiny_cohort, evaluated, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    scans = tmp_path / "scans.txt"
    scans.write_text(
        "\n".join(str(path) for path in sorted((tiny_cohort / "Test" / "demo_tumour" / "t2").iterdir())[:3])
    )
    expected = _predict(evaluated, scans, tmp_path / "single", sharded=False)
    for shard in (1, 0):
        found = _predict(evaluated, scans, tmp_path / "shards", sharded=True, shard=shard, num_shards=2)
        assert not (tmp_path / "shards" / "summary.json").exists()
    assert found == expected
    assert len(found) == 9
    _predict(evaluated, scans, tmp_path / "shards", sharded=False)
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("single", "shards")]
    assert [case["case_id"] for case in summaries[1]["cases"]] == [case["case_id"] for case in summaries[0]["cases"]]
    assert {case["status"] for case in summaries[1]["cases"]} == {"done before"}


def _ids(cases: list[Case]) -> list[tuple[str, str]]:
    return [(case["role"], case["case_id"]) for case in cases]


@pytest.mark.parametrize("limit", [None, 1])
def test_every_scan_is_in_one_share_and_shares_are_even(tiny_cohort, tmp_path, limit):
    plan = standard_plan("demo", ["demo_tumour"])
    rest = (tiny_cohort, "t2", 0, "standard", tmp_path / "cache", limit)
    everything = _ids(evaluation_cases(plan, *rest))
    shares = [_ids(evaluation_cases(plan, *rest, shard=shard, num_shards=3)) for shard in range(3)]
    assert sorted(case for share in shares for case in share) == sorted(everything)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(ConfigError, match="is empty"):
        evaluation_cases(plan, *rest, shard=9, num_shards=10)
    with pytest.raises(ConfigError, match="numbered from 0"):
        evaluation_cases(plan, *rest, shard=3, num_shards=3)


def _collector(folder: Path) -> MapCollector:
    return MapCollector({"difference": l1}, {"none": none()}, folder, (2.0, 2.0, 2.0))


def _add(collector: MapCollector, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    image, reconstruction = torch.rand(2, 6, 5, 4, generator=generator)
    seg = torch.rand(6, 5, 4, generator=generator) > 0.7
    group = ("a/val", "b/test")[number % 2]
    collector.add(CaseInfo(f"case{number}", group, 1), image, reconstruction, torch.ones(6, 5, 4), seg)


def test_histograms_and_cases_merge_to_those_of_one_pass(tmp_path):
    whole = _collector(tmp_path / "whole")
    for number in range(7):
        _add(whole, number)
    for shard in range(3):
        part = _collector(tmp_path / "maps")
        for number in range(shard, 7, 3):
            _add(part, number)
        save_shard(part, tmp_path / "shards", shard, 3, {"weights": "x"})
    merged = _collector(tmp_path / "maps")
    numbers = merge_shards(
        merged, None, [lambda c, p: {"cases": len(c.cases)}], tmp_path / "shards", 3, {"weights": "x"}
    )
    assert numbers == {"cases": 7}
    for group in ("a/val", "b/test"):
        assert merged.of_group(group) == whole.of_group(group)
        for found, expected in ((merged.whole, whole.whole), (merged.brain, whole.brain)):
            assert found["difference", group].average_precision() == expected["difference", group].average_precision()
            assert found["difference", group].best_dice() == expected["difference", group].best_dice()
        for case in whole.of_group(group):
            assert (merged.volume(case, "difference") == whole.volume(case, "difference")).all()


def test_shards_of_another_model_are_refused(tmp_path):
    collector = _collector(tmp_path / "maps")
    for shard in range(2):
        save_shard(collector, tmp_path, shard, 2, {"weights": f"{shard}"})
    with pytest.raises(ConfigError, match=r"shard_0001_of_0002.pt was made with another weights than"):
        merge_shards(_collector(tmp_path / "maps"), None, [], tmp_path, 2, {"weights": "0"})
    assert shard_path(tmp_path, 1, 2).is_file()
