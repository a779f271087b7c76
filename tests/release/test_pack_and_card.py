# SPDX-License-Identifier: Apache-2.0
import functools

import pytest
import torch

from custom.cli.main import main
from custom.core.digests import write_checked_json
from custom.core.errors import ConfigError
from custom.models.weights import load_weights, read_state_dict, save_weights
from custom.preparation.prepare import preparation
from custom.release.card import write_card
from custom.release.pack import pack
from custom.runs.model_folder import ModelFolder

PARTS = {
    "network": functools.partial(torch.nn.Linear, in_features=3, out_features=2),
    "preparation": preparation("standard"),
}


@pytest.fixture
def run(tmp_path):
    model = ModelFolder.define(
        tmp_path / "run", bundle="ae_baseline", method="ae", contrast="t1", dataset="ixi", fold=0, seed=3, parts=PARTS,
        training={"sources": ["ixi", "demo"]},
    )  # fmt: skip
    save_weights(model.network(), model.folder / "model.safetensors", {"iteration": "70", "validation": "0.25"})
    command = ["__main__.py", "run", "training", "--dataset_dir", "/home/me/data", "--more_sources",
               "[{'data_root':'/home/me/wide','dataset':'demo'}]", "--max_epochs", "3"]  # fmt: skip
    record = {
        "started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T10:30:00+00:00", "command": command,
        "versions": {"python": "3.11", "torch": "2.13", "monai": "1.6.1", "scipy": "1"},
    }  # fmt: skip
    write_checked_json(model.folder / "run.json", record)
    model.seal()
    return model.folder


def _calibration(model):
    return {
        "score": "l1", "trial": None, "healthy_scans": 7, "weights_sha256": model.weights_sha256,
        "thresholds": {
            "typical_fpr_0.001": {"value": 0.4, "source": "a median"}, "tuned/mslub": {"value": 0.05, "source": "best Dice"}
        },
        "healthy_quantiles": {"levels": [0.5, 0.99], "scores": [0.1, 0.4]},
    }  # fmt: skip


def _metrics(folder, sha256):
    wise = {
        "lesion_recall_0_to_100_mm3": 0.0, "lesions_0_to_100_mm3": 7,
        "lesion_recall_100_to_1000_mm3": 0.5, "lesions_100_to_1000_mm3": 10,
    }  # fmt: skip
    point = {"lesion_wise": wise, "per_case": {"dice": {"mean": 0.456}, "fp_ml": {"mean": 7.25}}}
    healthy = {f"false_positive_ml_{part}": value for part, value in (("mean", 1.5), ("median", 0.5), ("max", 9.0))}
    healthy |= {"flagged_scans": 3.0, "scans": 7.0}
    points = {"typical_fpr_0.001": point, "oracle": point}
    content = {
        "protocol": {"weights_sha256": sha256},
        "healthy": {
            "ixi/val": {"role": "held out", "variants": {"l1": {"typical_fpr_0.001": {"false_positives": healthy}}}}
        },
        "datasets": {
            "mslub": {
                "cases": 4,
                "variants": {
                    "l1": {"pooled": {"average_precision": 0.321}, "operating_points": points},
                    "uninformative": {"pooled": {"average_precision": 0.012}},
                },
            }
        },
    }
    folder.mkdir()
    write_checked_json(folder / "metrics.json", content)
    rows = ["group,case_id,variant,operating_point,fp_ml"]
    for case, ml in (("a", 1.0), ("b", 4.0), ("c", 0.5)):
        rows += [
            f"ixi/val,{case},l1,typical_fpr_0.001,{ml}",
            f"ixi/val,{case},l1,oracle,99",
            f"mslub/test,{case},l1,oracle,99",
        ]
    (folder / "per_case.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_packed_weights_are_halves_of_the_same_model(run, tmp_path):
    packed = pack(run, tmp_path / "small")
    assert packed.definition() == ModelFolder.read(run).definition()
    assert packed.calibration is None
    full, half = (read_state_dict(ModelFolder.read(folder).weights) for folder in (run, packed.folder))
    for name, value in full.items():
        assert half[name].dtype == torch.float16
        assert torch.equal(half[name], value.half())
    network = load_weights(packed.network(), packed.weights, packed.weights_sha256)
    assert network.weight.dtype == torch.float32


@pytest.mark.fault(
    121,
    "`uad pack` of weights that were damaged after the training",
    "refused by their digest; a copy would have carried a digest of its own",
    "mended",
)
def test_damaged_weights_are_not_packed(run, tmp_path):
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (run / "model.safetensors").write_bytes(weights)
    with pytest.raises(ConfigError, match="sha256 differs"):
        pack(run, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_weights_that_do_not_fit_are_refused(run, tmp_path):
    model = ModelFolder.read(run)
    network = model.network()
    torch.nn.init.constant_(network.weight, 1e6)
    save_weights(network, model.weights, {})
    model.seal()
    with pytest.raises(ConfigError, match="float16 cannot hold"):
        pack(run, tmp_path / "small")


def test_the_card_tells_what_the_files_hold_and_no_path_of_this_machine(run, tmp_path):
    packed = pack(run, tmp_path / "small")
    evaluation = _metrics(tmp_path / "evaluation", packed.weights_sha256)
    with pytest.raises(ConfigError, match="no calibration"):
        write_card(packed.folder, run, [evaluation])
    packed.promote(_calibration(packed))
    (tmp_path / "wide").mkdir()
    counts = {"healthy": 9, "healthy_test": 0, "patients_val": 0, "patients_test": 0}
    write_checked_json(tmp_path / "wide" / "DEMO.json", {"seed": 5, "variety": "wide", "counts": counts})
    (tmp_path / "list.csv").write_text(
        ",img_name,age,sex\n0,a_t1.nii.gz,25.5,F\n1,b_t1.nii.gz,70,M\n2,c_t1.nii.gz,61,F\n"
    )
    words = [
        "card",
        str(packed.folder),
        "--run",
        str(run),
        "--evaluation",
        str(evaluation),
        "--cohort",
        str(tmp_path / "wide"),
        "--people",
        str(tmp_path / "list.csv"),
    ]
    assert main(words) == 0
    text = (packed.folder / "card.md").read_text()
    for part in (
        "30 minutes", "0.2500", "iteration 70", "CC BY-SA 3.0", "32.1 (1.2)", "45.6", "7.2", "| 1.5 | 0.5 | 9.0 | 3 of 7 |",
        "lesions of below 0.1 ml", "--healthy 9", "--seed 5 --variety wide", "--dataset_dir DATASET_DIR", "'SYNTHETIC'",
        "| below 40 | 1 | 1.0 | 1.0 | 1.0 |", "| 60 and more | 2 | 2.2 | 0.5 | 4.0 |", "| 40 to 60 | 0 |", "| women | 2 | 0.8 |",
        "50 (24 to 76) of 10", "0 (0 to 35) of 7", "typical_fpr_0.001` 0.4: a median", "7 healthy scans of IXI",
    ):  # fmt: skip
        assert part in text, part
    assert "`tuned/mslub` 0.05: best Dice; indiscriminate: it marks at least 50% of healthy brains" in text
    assert "/home/me" not in text
    assert "of little use" not in text
    assert "taken only when it is named" in text
    assert "oracle" not in text


def test_a_card_of_other_weights_is_refused(run, tmp_path):
    packed = pack(run, tmp_path / "small")
    packed.promote(_calibration(packed))
    with pytest.raises(ConfigError, match="other weights"):
        write_card(packed.folder, run, [_metrics(tmp_path / "evaluation", "0" * 64)])
