# SPDX-License-Identifier: Apache-2.0
"""Expansion, what a change repeats, and one sentence for everything that cannot work, before any command runs."""

import copy
import json

import pytest

from custom.benchmark.plan import plan_jobs
from custom.benchmark.spec import parse_spec
from custom.core.errors import UADError


def digests(jobs):
    return {(job.name, stage.name): dict(stage.digests) for job in jobs for stage in job.stages}


def changed(before, after):
    return {(*key, part) for key in before for part in before[key] if before[key][part] != after[key][part]}


def test_expansion(world):
    jobs = plan_jobs(world.spec(), world.places)
    assert [job.name for job in jobs] == [f"{m}/t2_fold{f}" for m in ("threshold", "atlas", "net") for f in (0, 1)]
    job = jobs[-1]
    assert job.folder == str(world.root / "out/runs/net/t2_fold1")
    training, evaluation = job.stages
    options = dict(zip(training.arguments[1::2], training.arguments[2::2], strict=True))
    assert training.arguments[0] == "training"
    assert options["--fold"] == "1"
    assert options["--contrast"] == "t2"
    assert options["--dataset_name"] == "demo"
    assert "--tracking_uri" not in options  # the configuration does not know it
    options = dict(zip(evaluation.arguments[1::2], evaluation.arguments[2::2], strict=True))
    assert options["--test_sets"] == "['demo_tumour']"


def test_general_overrides_reach_who_knows_them_own_ones_must_be_known(world):
    jobs = plan_jobs(world.spec(train={"max_epochs": 7, "latent_size": 3}), world.places)
    assert all("--max_epochs" in job.stages[0].arguments for job in jobs)
    assert not any("--latent_size" in job.stages[0].arguments for job in jobs)
    methods = copy.deepcopy(world.content["methods"])
    methods["net"]["train"] = {"max_epoch": 7}
    with pytest.raises(UADError, match=r"--max_epoch is not a setting.*did you mean --max_epochs"):
        plan_jobs(world.spec(methods=methods), world.places)


def test_further_evaluations_and_the_sweep_share_one_training(world):
    methods = copy.deepcopy(world.content["methods"])
    methods["net"]["evaluations"] = {"net, 3 t": {"test_timesteps": [250, 500, 750]}}
    jobs = plan_jobs(world.spec(methods=methods, t_sweep={"net": [250]}), world.places)
    stages = [stage for job in jobs if job.labels["method"] == "net" for stage in job.stages]
    assert [s.name for s in stages[:4]] == ["training", "evaluation", "evaluation_net_3_t", "evaluation_t250"]
    assert stages[2].product == "evaluation_net_3_t/metrics.json"
    assert "[250, 500, 750]" in stages[2].arguments


def test_what_a_change_repeats(world):
    before = digests(plan_jobs(world.spec(), world.places))
    assert before == digests(plan_jobs(world.spec(), world.places))
    file = world.root / "net_train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_epochs": 2}))
    after = digests(plan_jobs(world.spec(), world.places))
    assert changed(before, after) == {(f"net/t2_fold{f}", "training", "configuration") for f in (0, 1)}

    lists = world.root / "data/splits"
    (lists / "demo_val_fold1.csv").write_text((lists / "demo_val_fold1.csv").read_text() + "\n")
    final = digests(plan_jobs(world.spec(), world.places))
    folds = {
        (f"{m}/t2_fold1", s, "split lists") for m in ("threshold", "atlas", "net") for s in ("training", "evaluation")
    }
    assert changed(after, final) == folds
    seeded = digests(plan_jobs(world.spec(seed=2), world.places))
    jobs = {name for name, *_ in final}
    assert changed(final, seeded) == {
        (name, "training", "configuration") for name in jobs
    }  # what follows is done again too


def test_another_list_of_healthy_test_scans_repeats_the_evaluations_that_measure_them(world):
    lists = world.root / "data/splits"
    (lists / "demo_test.csv").write_bytes((lists / "demo_val_fold1.csv").read_bytes())
    spec, unmeasured = world.spec(evaluate={"healthy_test": True}), world.spec()
    before, others = (digests(plan_jobs(wanted, world.places)) for wanted in (spec, unmeasured))
    (lists / "demo_test.csv").write_text((lists / "demo_test.csv").read_text() + "\n")
    jobs = plan_jobs(spec, world.places)
    assert changed(before, digests(jobs)) == {(job.name, "evaluation", "split lists") for job in jobs}
    assert digests(plan_jobs(unmeasured, world.places)) == others


def test_each_fold_has_its_own_seed_and_a_method_may_fix_another(world):
    content = copy.deepcopy(world.content)
    content["methods"]["net"]["train"] = {"seed": 7}
    given = {job.name: job.stages[0].arguments for job in plan_jobs(parse_spec(content), world.places)}
    seeds = {name: arguments[arguments.index("--seed") + 1] for name, arguments in given.items()}
    assert (seeds["atlas/t2_fold0"], seeds["atlas/t2_fold1"]) == ("1", "2")
    assert seeds["net/t2_fold0"] == seeds["net/t2_fold1"] == "7"


def test_none_in_the_place_of_a_default_reaches_the_configuration(world):
    """MONAI's command line drops what is None, and the default would be measured under another name."""
    content = copy.deepcopy(world.content)
    content["methods"]["net"] |= {"evaluate": {"test_timesteps": None}, "evaluations": {"same": {"tuning_sets": None}}}
    stages = {job.name: job.stages for job in plan_jobs(parse_spec(content), world.places)}["net/t2_fold0"]
    given = {stage.name: dict(zip(stage.arguments[1::2], stage.arguments[2::2], strict=True)) for stage in stages}
    assert given["evaluation"]["--test_timesteps"] == "$None"
    assert given["evaluation_same"]["--tuning_sets"] == "None"


def test_other_folders_are_no_change(world):
    from dataclasses import replace

    elsewhere = replace(world.places, output_dir=str(world.root / "elsewhere"), cache_dir=str(world.root / "cache"))
    assert digests(plan_jobs(world.spec(), world.places)) == digests(plan_jobs(world.spec(), elsewhere))


def wrong(world, key, value):
    content = copy.deepcopy(world.content)
    entry, *path = key.split("/")
    target = content
    for part in [entry, *path][:-1]:
        target = target[part]
    target[[entry, *path][-1]] = value
    return content


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "methods/ddmp",
            {"bundle": "ddpm_ssim_en", "scores": ["l1"]},
            "no bundle 'ddpm_ssim_en'; did you mean 'ddpm_ssim_ens'",
        ),
        ("methods/net/scores", ["ssim_en"], "score 'ssim_en' is unknown; did you mean 'ssim_ens'"),
        ("methods/net/scores", ["l1@non"], "post-processing 'non' of 'l1@non' is unknown"),
        ("contrasts/t2/test_sets", ["demo_tumor"], "no data set is called 'demo_tumor'; did you mean 'demo_tumour'"),
        ("contrasts/t2/test_sets", ["atlas_v2"], "not in t2"),
        ("contrasts/t2/dataset_name", "demo_tumour", "is of patients"),
        ("contrasts", {"pd": {"dataset_name": "demo", "test_sets": ["demo_tumour"]}}, "not in pd; take it out"),
        ("folds", [0, 2], "demo_train_fold2.csv"),
        ("folds", [], "'folds' is missing or empty"),
        ("folds", [0, 0], "different whole numbers"),
        ("metods", {}, "'metods' is unknown; did you mean 'methods'"),
        ("methods/net/scors", ["l1"], "'scors' is unknown; did you mean 'scores'"),
        ("methods/net/training", ["no.json"], "no.json does not exist"),
        ("methods/net/contrasts", ["t1"], "'t1' is unknown"),
        ("methods/a b", {"bundle": "ae_baseline", "scores": ["l1"]}, "'a b' cannot be a folder name"),
        ("comparisons", [["net l1", "net l2"]], "comparison of 'net l2', which is no row"),
        ("orderings", [["net l1", "net l3"]], "comparison of 'net l3', which is no row"),
        ("published", {"rows": {"nets l1": {}}}, "comparison of 'nets l1', which is no row; did you mean 'net l1'"),
        ("t_sweep", {"nett": [1]}, "'nett' is unknown"),
    ],
)
def test_bad_input_is_one_sentence(world, key, value, sentence):
    with pytest.raises(UADError) as error:
        plan_jobs(world.spec(**wrong(world, key, value)), world.places)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not world.journal()
    assert not (world.root / "out").exists()


@pytest.mark.parametrize("kind", ["threshold", "atlas"])
def test_no_matrix_without_baselines(world, kind):
    methods = {name: entry for name, entry in world.content["methods"].items() if name != kind}
    with pytest.raises(UADError, match="no table is printed without it"):
        plan_jobs(world.spec(methods=methods), world.places)


def test_missing_scans_are_told_before_any_training(world):
    (world.root / "data/Test/demo_tumour/t2/P1_t2.nii.gz").unlink()
    with pytest.raises(UADError, match=r"P1_t2\.nii\.gz"):
        plan_jobs(world.spec(), world.places)


def test_an_encoder_is_pretrained_first_and_handed_over(world):
    methods = copy.deepcopy(world.content["methods"])
    train = json.loads((world.root / "net_train.json").read_text())
    (world.root / "net_train.json").write_text(json.dumps(train | {"encoder_dir": None}))
    (world.root / "encoder.json").write_text(json.dumps(train | {"method": "spark"}))
    methods["net"] |= {"pretraining": [str(world.root / "encoder.json")], "pretrain": {"max_epochs": 9}}
    jobs = plan_jobs(world.spec(methods=methods), world.places)
    job = next(job for job in jobs if job.labels["method"] == "net")
    assert [stage.name for stage in job.stages] == ["pretraining", "training", "evaluation"]
    assert job.labels["kind"] == "net"
    first, second = (dict(zip(s.arguments[1::2], s.arguments[2::2], strict=True)) for s in job.stages[:2])
    assert first["--output_dir"] == second["--encoder_dir"] == f"{job.folder}/pretraining"
    assert job.stages[0].product == "pretraining/model.safetensors"
    assert (first["--max_epochs"], first["--fold"], second["--output_dir"]) == ("9", "0", job.folder)
    methods["net"]["pretrain"] = {"epochs": 9}
    with pytest.raises(UADError, match="--epochs is not a setting"):
        plan_jobs(world.spec(methods=methods), world.places)
