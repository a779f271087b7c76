# SPDX-License-Identifier: Apache-2.0
"""One place turns errors into sentences and exit codes; nothing heavy is loaded before a command runs."""

import argparse
import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from custom.cli.commands import evaluate
from custom.cli.main import guarded, main, subcommands
from custom.core.errors import ConfigError, DataError
from custom.prediction.released import released_model

LIGHT = """
import sys
from custom.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = {"torch", "monai", "numpy", "nibabel", "matplotlib", "scipy"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["train", "ddpm_ssim_ens", "--help"], ["predict", "--help"], ["models"]),
        *(
            ["evalute"],
            ["train", "ddpm_ssim_ens", "--data", ".", "--max_epoch", "1"],
            ["train", "ae_baseline", "--data", "absent"],
            ["train", "ae_baseline", "--data", "."],  # a folder without lists
        ),
        *(["predict", "absent.nii.gz", "-o", "out"], ["predict", ".", "-o", "out", "--model", "restoration_t3"]),
        *(["evaluate", ".", "--data", "."], ["freeze", "absent", "-o", "out"]),
        ["calibrate", "restoration_t2", "absent", "-o", "out", "--scanner", "x"],
    ],
)
def test_help_and_misspelt_names_load_nothing_heavy(words, tmp_path, repository):
    finished = subprocess.run(
        [sys.executable, "-c", LIGHT, *words], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr


def test_help_lists_every_subcommand_with_what_it_does(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in subcommands():
        assert f"\n    {name}" in shown


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["evalute", "RUN"], "did you mean evaluate?"),
        (
            ["predict", "scan", "-o", "out", "--sensitivty", "0.01"],
            "unrecognized arguments: --sensitivty 0.01; did you mean --sensitivity?",
        ),
        (["splits", "DATA", "--dataset", "x", "--sed", "1"], "did you mean --seed?"),
        (["check", "DATA", "--nothing-like-it"], "unrecognized arguments: --nothing_like_it\n"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_closest_one(words, hint, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err


def test_a_preset_that_a_bundle_does_not_have_is_answered_with_those_it_has(tmp_path, capsys):
    assert main(["train", "restoration", "--data", str(tmp_path), "--preset", "small"]) == 2
    assert "there is no preset small; presets of restoration: released." in capsys.readouterr().err
    assert main(["train", "atlas_baseline", "--data", str(tmp_path), "--preset", "small"]) == 2
    assert "presets of atlas_baseline: none." in capsys.readouterr().err


def test_help_of_a_bundle_lists_its_settings_with_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["train", "ddpm_ssim_ens", "--help"])
    shown = capsys.readouterr().out
    assert "--max_epochs" in shown
    assert "simplex (or " in shown
    assert "gaussian" in shown


@pytest.mark.fault(
    111,
    "a device that is none (`--device gpu`); a password in an error of any command",
    "one sentence, without the password",
    "unrecorded",
)
@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConfigError("the setting is wrong"), 2, "error: the setting is wrong\n"),
        (DataError("the mask is empty", case="IXI002"), 4, "error: IXI002: the mask is empty\n"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C; finished work is kept, the same command goes on from there.\n"),
        (MemoryError(), 1, "this machine has no more memory to give"),
        (OSError(errno.ENOSPC, "No space left on device", "/out/a"), 1, "the disk is full (/out/a)"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/out"),
            2,
            "error: /out cannot be used (Permission denied)",
        ),
        (OSError(errno.EROFS, "Read-only file system", "/ro/x"), 2, "/ro/x cannot be used (Read-only file system)"),
        (FileExistsError(errno.EEXIST, "File exists", "/tmp/f"), 2, "/tmp/f cannot be used (File exists)"),
        (ConfigError("http://alice:s3cret@host/mlflow is down"), 2, "error: http://***@host/mlflow is down\n"),
        (
            UnicodeEncodeError("utf-8", "/data/caf\udce9/t1", 9, 10, "surrogates not allowed"),
            2,
            "error: a name that is no UTF-8 text cannot be used here (...'/data/caf\\udce9/t1'...); rename",
        ),
        (
            RuntimeError("Invalid device string: 'gpu'"),
            2,
            "error: --device takes cpu, cuda or cuda:NUMBER (Invalid device",
        ),
        (KeyError("defect"), 1, "Traceback"),
    ],
)
def test_an_error_becomes_a_sentence_and_an_exit_code(error, code, sentence, capsys):
    def fail() -> int:
        raise error

    assert guarded(fail) == code
    told = capsys.readouterr().err
    assert sentence in told
    assert ("Traceback" in told) == isinstance(error, KeyError)


def test_debug_shows_the_traceback_too(monkeypatch, capsys):
    monkeypatch.setenv("UAD_DEBUG", "1")

    def fail() -> int:
        raise ConfigError("wrong")

    assert guarded(fail) == 2
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.endswith("error: wrong\n")


def test_a_reader_that_leaves_is_not_an_error(repository):
    """``uad models | head -0``."""
    code = "import sys, time; from custom.cli.main import main; time.sleep(0.5); sys.exit(main(['models']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert told == b""


def _outputs(place: Path, tmp_path: Path) -> dict[str, list[str]]:
    """A command line of every command that writes, with an output that cannot be; inputs need not be there."""
    there = str(tmp_path)
    return {
        "predict": ["predict", there, "-o", str(place), "--model", there],
        "freeze": ["freeze", there, "-o", str(place)],
        "matrix": ["matrix", "matrices/demo.json", "--data", there, "-o", str(place)],
        "cohort": ["cohort", str(place)],
        "train": ["train", "ddpm_ssim_ens", "--data", there, "-o", str(place)],
        "demo": ["demo", "--data", str(tmp_path / "data"), "-o", str(place)],
        "compare": ["compare", there, "--output", str(place / "table")],
        "check": ["check", there, "--json", str(place / "found.json")],
    }


@pytest.mark.parametrize("command", [*_outputs(Path(), Path())])
@pytest.mark.parametrize("kind", ["file", "impossible"])
def test_an_output_that_cannot_be_written_is_one_sentence_before_any_work(command, kind, tmp_path, capsys):
    if kind == "impossible" and not Path("/proc/self").is_dir():
        pytest.skip("no folder here refuses root")
    place = tmp_path / "file" if kind == "file" else Path("/proc/nothing")
    if kind == "file":
        place.write_text("in the way")
    assert main(_outputs(place, tmp_path)[command]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: nothing can be written into {place}")
    assert told.count("\n") == 1


def test_a_user_without_a_name_can_run_commands(repository, tmp_path):
    """``docker run --user 12345``: MONAI asks for the user's name when it is imported."""
    code = (
        "import getpass, os, pwd, sys; os.getuid = lambda: 4012345\n"
        "from custom.cli.main import main\n"
        "code = main(['check', sys.argv[1], '--no-cache'])\n"
        "import monai.bundle\n"
        "print(getpass.getuser())\n"
        "sys.exit(code)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("USER", "LOGNAME", "LNAME", "USERNAME")}
    finished = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=repository, capture_output=True, text=True, env=environment,
        check=False,
    )  # fmt: skip
    assert finished.returncode in (2, 4), finished.stderr
    assert finished.stdout.endswith("user4012345\n")


def test_options_have_one_spelling_in_the_help():
    for name, module in subcommands().items():
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        dashed = [o for action in parser._actions for o in action.option_strings if "-" in o.lstrip("-")]
        assert not dashed, f"uad {name}: {dashed}; options are spelt with _, and - is accepted for it"


@pytest.mark.parametrize("option", ["--time-limit", "--time_limit"])
def test_both_spellings_of_an_option_are_accepted(option, tmp_path, capsys):
    assert main(["predict", str(tmp_path), "-o", str(tmp_path / "out"), option, "0"]) == 2
    assert "takes minutes" in capsys.readouterr().err


def test_a_released_model_is_evaluated_and_left_as_it_is(tmp_path, monkeypatch, capsys):
    (tmp_path / "release").mkdir()
    shutil.copytree(released_model("restoration_t2").folder, tmp_path / "release" / "models")
    (tmp_path / "release" / "manifest.json").write_text("{}")
    ran = []
    monkeypatch.setattr(evaluate, "run_bundle", lambda *given: ran.append(given) or {"output_dir": "OUT"})
    for model, folder in [
        (str(tmp_path / "release"), tmp_path / "release" / "models"),
        (str(tmp_path / "release" / "models"), tmp_path / "release" / "models"),
        ("restoration_t2", released_model("restoration_t2").folder),
        (str(released_model("restoration_t2").folder), released_model("restoration_t2").folder),
    ]:
        command = ["evaluate", model, "--data", str(tmp_path)]
        assert main(command) == 2
        assert "-o OUT" in capsys.readouterr().err
        assert main([*command, "-o", str(folder / "evaluation")]) == 2
        assert "-o OUT" in capsys.readouterr().err
        assert main([*command, "-o", str(tmp_path / "out"), "--promote"]) == 2
        assert "leave out --promote" in capsys.readouterr().err
        assert main([*command, "-o", str(tmp_path / "out")]) == 0
        assert ran.pop()[2] == {
            "dataset_dir": str(tmp_path), "model_dir": str(folder), "output_dir": str(tmp_path / "out")
        }  # fmt: skip


def test_the_training_that_a_tiny_cohort_names_has_steps(tmp_path, monkeypatch, capsys, repository):
    monkeypatch.setattr("custom.synthetic.make_demo_cohort", lambda folder, *_: Path(folder))
    assert main(["cohort", str(tmp_path / "my data"), "--tiny"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "uad train" in line]
    words = shlex.split(line)
    settings = dict(zip(words[3::2], words[4::2], strict=True))
    preset = json.loads((repository / "bundles/ddpm_ssim_ens/configs/small.json").read_text(encoding="utf-8"))
    assert settings["--data"] == str(tmp_path / "my data")
    assert 4 * int(settings["--slices_per_volume"]) >= preset["batch_size"]  # 4 training scans
