# SPDX-License-Identifier: Apache-2.0
import compileall
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.errors import ConfigError
from custom.safety import bundle_digest, lint_bundle, require_safe, trust, trusted_hashes

ROOT = Path(__file__).resolve().parents[2]
TRIGGER = "/tmp/pwned"


def write(folder: Path, config: object, name: str = "configs/train.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def refused(folder: Path) -> list[str]:
    return [str(found) for found in lint_bundle(folder)]


@pytest.mark.parametrize("bundle", sorted(p.parent for p in (ROOT / "bundles").glob("*/configs")), ids=lambda p: p.name)
def test_own_bundles_pass(bundle, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert refused(bundle) == []


EXPRESSIONS = {
    "import by name": "$__import__('os').system('touch /tmp/pwned')",
    "import statement": "$import os",
    "import from": "$from os import system",
    "import with a harmless alias": "$from os import system as len",
    "two imports in one": "$import torch, os",
    "import and more": "$import torch\n__import__('os')",
    "hub": "$torch.hub.load('evil/repo', 'x')",
    "unpickle": "$torch.load('x.pt', weights_only=False)",
    "numpy pickles": "$np.load('x.npy', allow_pickle=True)",
    "compile C": "$torch.utils.cpp_extension.load_inline('x', 'code')",
    "download": "$monai.bundle.download('x')",
    "apps": "$monai.apps.download_url('http://x', 'y')",
    "a module's module": "$monai.utils.os.system('x')",
    "own module's module": "$custom.data.cache.os.system('x')",
    "getattr": "$getattr(torch, 'h' + 'ub')",
    "getattr of a reference": "$getattr(@network, '__cl' + 'ass__')",
    "class ladder": "$().__class__.__base__.__subclasses__()",
    "class of a reference": "$@network.__class__.__init__.__globals__['os']",
    "format reads attributes": "$'{0.__class__}'.format(@network)",
    "format_map": "$'{x.__init__.__globals__}'.format_map({'x': @network})",
    "f-string reads attributes": "$f'{(1).__class__}'",
    "eval": "$eval('1')",
    "exec": "$exec('x=1')",
    "open": "$open('/etc/passwd').read()",
    "compile": "$compile('1', '', 'eval')",
    "breakpoint": "$breakpoint()",
    "globals": "$globals()['torch']",
    "the table of references": "$__local_refs.keys()",
    "a computed reference": "$__local_refs['net' + 'work']",
    "a module by its reference": "$@imports::0.hub.load('x')",
    "the list of modules": "$@imports",
    "a module by the table": "$__local_refs['imports::0'].hub",
    "relative reference": "$@::imports::0",
    "module handed on": "$torch",
    "module in a list": "$[torch][0].hub",
    "vars of a module": "$vars(torch)['hub']",
    "vars read on": "$vars(@network)['x']",
    "vars handed on": "$map(vars, [1])",
    "private entry": "$@network['__globals__']",
    "lambda hides a name": "$(lambda torch: torch.hub)(@network)",
    "lambda calls anything": "$lambda x: x.system('y')",
    "comprehension hides a name": "$[len for len in @network]",
    "walrus": "$(x := @network)",
    "await": "$await @network",
    "calls a computed value": "$[print][0]('x')",
    "calls a result": "$@network()()",
    "writes a file": "$@tensor.numpy().tofile('x')",
    "str of bytes trick": "$bytes([95]).decode()",
    "type": "$type('X', (), {})",
    "type name read on": "$type(@network).__name__.__class__",
    "type name of a hidden thing": "$type(@network.__class__).__name__",
    "power": "$9 ** 9 ** 9",
    "not Python": "$1 +",
    "very long": "$" + "1+" * 2_000 + "1",
    "deep": "$" + "(" * 150 + "1" + ")" * 150 + ".x",
    "nul": "$1\0",
    "non-ASCII look-alike of a hidden name": "$@network.__clasﬆ__",
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_malicious_expressions_are_refused(tmp_path, name):
    config = {"imports": ["$import torch"], "network": {"_target_": "torch.nn.L1Loss"}, "x": [{"y": EXPRESSIONS[name]}]}
    found = lint_bundle(write(tmp_path, config))
    assert [f.id for f in found] == ["x::0::y"] * len(found)
    assert found


TARGETS = [
    *(
        "os.system",
        "subprocess.run",
        "subprocess.Popen",
        "builtins.exec",
        "builtins.eval",
        "builtins.getattr",
        "torch.load",
    ),
    *("torch.hub.load", "monai.bundle.download", "monai.bundle.run", "monai.apps.download_url", "download_url", "run"),
    *("custom.data.cache.os.system", "custom.data.cases.Path", "custom.atomic.atomic_write_text", "custom.noise.os"),
    *(
        "custom.handlers.anomaly_scoring.np.load",
        "monai.transforms.io.array.np.load",
        "torch.nn.modules.module.torch.load",
    ),
    *(
        "monai.data.NumpyReader",
        "monai.networks.nets.resnet10",
        "custom.data.folds.write_text",
        "torch",
        "custom.noise",
    ),
    *("$'os.' + 'system'", "@network", "%other.json::x", "posix.system", "pty.spawn", "importlib.import_module"),
    *(
        "torch.nn.Module.__init__.__globals__",
        "torch.nn.L1Loss.",
        "",
        "torch..nn",
        "nt.system",
        "pickle.loads",
        "code.interact",
    ),
]


@pytest.mark.parametrize("target", TARGETS)
def test_targets_off_the_list_are_refused(tmp_path, target):
    found = refused(write(tmp_path, {"network": 1, "a": {"b": {"_target_": target, "command": "touch x"}}}))
    assert len(found) >= 1
    assert "a::b" in found[0]


@pytest.mark.parametrize("target", [1, None, ["os.system"], {"_target_": "os.system"}])
def test_a_target_is_a_word(tmp_path, target):
    assert refused(write(tmp_path, {"a": {"_target_": target}}))


@pytest.mark.parametrize(
    "value",
    [
        {"_target_": "torch.nn.L1Loss", "_mode_": "debug"},
        {"_target_": "torch.nn.L1Loss", "_mode_": "$'de' + 'bug'"},
        {"_target_": "torch.nn.L1Loss", "_debug_": True},
        "%/etc/shadow.json::x",
        "%../../other/secret.json::x",
        "%configs/other.yaml::x",
        "/home/someone/.ssh/id_rsa",
        "../../.bashrc",
        "~/.bashrc",
    ],
)
def test_other_ways_out(tmp_path, value):
    assert refused(write(tmp_path / "bundle", {"a": value}))


ALLOWED = {
    "imports": ["$import torch", "$import math", "$import numpy as np", "$from math import ceil as up"],
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "channels": [1, 2],
    "levels": "$[False] * len(@channels)",
    "pairs": "$[(i, 2 * c) for i, c in enumerate(@channels) if c > 1]",
    "up": "$up(math.sqrt(2)) + np.pi",
    "name": "$f'run {1 + 1}' + str(@channels::0)",
    "kind": "$dict(vars(@loss), name=type(@loss).__name__)",
    "loss": {"_target_": "torch.nn.L1Loss", "_mode_": "default", "_disabled_": "$not @channels"},
    "loss_item": "$lambda x: x['loss'].item()",
    "trainer": {"_target_": "SupervisedTrainer"},
    "transform": {"_target_": "monai.transforms.Compose", "transforms": []},
    "noise": {"_target_": "custom.noise.SimplexNoise"},
    "plain": "100 % @home and $ in the middle",
    "run": ["$@trainer.run()"],
}


def test_ordinary_configurations_pass(tmp_path):
    assert refused(write(tmp_path, ALLOWED)) == []


def test_what_the_linter_reads_is_what_monai_would_run(tmp_path, monkeypatch):
    """Every malicious expression above that MONAI can run at all is run by it: the list holds no straw men."""
    from monai.bundle import ConfigParser

    ran = []
    monkeypatch.setattr(os, "system", lambda command: ran.append(command))
    for text in (EXPRESSIONS["import by name"], "$custom.data.cache.os.system('x')"):
        ConfigParser({"a": text}, globals={"custom": __import__("custom.data.cache")}).get_parsed_content("a")
    ConfigParser({"a": {"_target_": "custom.data.cache.os.system", "command": "y"}}).get_parsed_content("a")
    assert ran == ["touch /tmp/pwned", "x", "y"]


def test_macros_are_followed(tmp_path, monkeypatch):
    bundle = write(tmp_path / "bundle", {"a": "%bundle/parts/evil.json::x"})
    write(bundle, {"x": {"_target_": "os.system"}}, "parts/evil.json")
    monkeypatch.chdir(tmp_path)
    assert any("os.system" in text for text in refused(bundle / "configs/train.json"))


def test_names_of_one_file_do_not_vouch_for_another(tmp_path):
    bundle = write(tmp_path, {"imports": ["$import math as m"]}, "configs/a.json")
    write(bundle, {"imports": ["$import torch as m"], "x": "$m.sqrt(1)"}, "configs/b.json")
    assert any("another meaning" in text for text in refused(bundle))


@pytest.mark.parametrize(
    "name", ["evil.py", "evil.pyc", "evil.so", "w.pkl", "w.npy", "m.ts", "run.sh", "x", "c.yaml", "a.zip"]
)
def test_files_that_may_be_code(tmp_path, name):
    write(tmp_path, {})
    (tmp_path / name).write_bytes(b"x")
    assert any(name in text for text in refused(tmp_path))


def test_links_and_compiled_folders(tmp_path):
    write(tmp_path, {})
    (tmp_path / "configs/link.json").symlink_to("/etc/passwd")
    (tmp_path / "__pycache__").mkdir()
    assert len(refused(tmp_path)) == 2


@pytest.fixture
def release(tmp_path):
    """A bundle that carries this very package."""
    without = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "custom", tmp_path / "custom", ignore=without)
    return write(tmp_path, ALLOWED)


def test_a_release_with_the_installed_package_passes(release):
    assert refused(release) == []
    (release / "custom/noise/coarse.py").unlink()
    assert refused(release) == []


CHANGES = {
    "a changed file": lambda custom: (custom / "errors.py").write_text("import os\n"),
    "an added file": lambda custom: (custom / "noise/evil.py").write_text(""),
    "an added configuration": lambda custom: (custom / "configs/evil.json").write_text("{}"),
    "one byte": lambda custom: (custom / "atomic.py").write_bytes((custom / "atomic.py").read_bytes()[:-1] + b" "),
    "its own file under another name": lambda custom: (custom / "atomic.py").rename(custom / "errors.py"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_release_with_other_code_is_one_finding(release, change):
    CHANGES[change](release / "custom")
    assert len(found := refused(release)) == 1
    assert "1 of " in found[0]
    assert "code of the bundle's own" in found[0]


def test_many_foreign_files_are_one_finding(release, tmp_path_factory):
    for path in (release / "custom").rglob("*.py"):
        path.write_text("")
    assert len(refused(release)) == 1
    with pytest.raises(ConfigError, match="code of the bundle's own"):
        require_safe(release)
    require_safe(release, {trust(release, tmp_path_factory.mktemp("trust") / "t.json")})


def test_compiled_files_and_links_of_a_release_are_refused(release):
    compileall.compile_file(release / "custom/errors.py", quiet=2)
    assert "delete the folders __pycache__" in refused(release)[0]
    shutil.rmtree(release / "custom/__pycache__")
    (release / "custom/atomic.py").unlink()
    (release / "custom/atomic.py").symlink_to(ROOT / "custom/atomic.py")
    assert refused(release) == ["custom/atomic.py: 'atomic.py' is a link; it can lead anywhere"]


def test_the_package_of_a_release_is_named_custom_and_lies_at_the_top(release):
    (release / "custom").rename(release / "other")
    assert len(refused(release)) > 100
    (release / "configs/custom").mkdir()
    (release / "other/errors.py").rename(release / "configs/custom/errors.py")
    assert any(text.startswith("configs/custom/errors.py") for text in refused(release))


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("[handler_a]\nclass=StreamHandler\nargs=(sys.stderr,)\n", True),
        ("[handler_a]\nclass=StreamHandler\nargs=(__import__('os').system('x'),)\n", False),
        ("[handler_a]\nclass=__import__('os').system('x')\nargs=()\n", False),
        ("[handler_a]\nclass=FileHandler\nargs=('/root/.bashrc',)\n", False),
        ("[handler_a]\nclass=StreamHandler\nkwargs={'a': open('x')}\n", False),
        ("no sections at all", False),
    ],
)
def test_logging_configurations_are_code_too(tmp_path, text, harmless):
    assert (refused(write(tmp_path, text, "configs/logging.conf")) == []) == harmless


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        '{"a":' * 70 + "1" + "}" * 70,
        "\0",
    ],
)
def test_unreadable_configurations(tmp_path, text):
    assert refused(write(tmp_path, text))


def test_a_huge_configuration_is_not_read(tmp_path):
    assert "bytes" in refused(write(tmp_path, '"' + "x" * (3 << 20) + '"'))[0]


def test_no_bundle_there(tmp_path):
    with pytest.raises(ConfigError, match="no bundle"):
        lint_bundle(tmp_path / "nothing")


_TEXT = st.text(alphabet="$@%_:#.()[]'\"{}lambda importostrchvs 01+*,=\n", max_size=40)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_TEXT | st.sampled_from(["_target_", "_mode_", "imports"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(content=_JSON, start=st.sampled_from(["", "$", "@", "%"]))
def test_any_json_is_judged_without_a_crash(tmp_path_factory, content, start):
    lint_bundle(write(tmp_path_factory.mktemp("b"), {"a": content, "b": start + str(content)}))


def test_trust_pins_one_version(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    bundle = write(tmp_path / "bundle", {"a": {"_target_": "os.getcwd"}})
    with pytest.raises(ConfigError, match=r"os\.getcwd(.|\n)*--trust"):
        require_safe(bundle, trusted_hashes())
    digest = trust(bundle)
    assert digest == bundle_digest(bundle)
    require_safe(bundle, trusted_hashes())
    write(bundle, {"a": {"_target_": "os.getcwd", "b": 1}})
    with pytest.raises(ConfigError):
        require_safe(bundle, trusted_hashes())
    require_safe(write(tmp_path / "clean", ALLOWED))


def test_a_renamed_file_changes_the_digest(tmp_path):
    bundle = write(tmp_path, {"a": 1})
    before = bundle_digest(bundle)
    (bundle / "configs/train.json").rename(bundle / "configs/evaluate.json")
    assert bundle_digest(bundle) != before


def test_compiled_code_is_never_trusted(tmp_path):
    (tmp_path / "b/__pycache__").mkdir(parents=True)
    with pytest.raises(ConfigError, match="compiled"):
        trust(tmp_path / "b", tmp_path / "trust.json")


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_damaged_trust_file_trusts_nothing(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ConfigError, match="no bundle is trusted"):
        trusted_hashes(tmp_path / "t.json")


def test_command_line(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path / "home")}
        command = [sys.executable, "scripts/lint_bundle.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    bundle = str(write(tmp_path / "bundle", {"a": {"_target_": "os.system"}}))
    first = run(bundle)
    assert first.returncode == 2
    assert "os.system" in first.stdout
    assert run(bundle, "--trust").returncode == 0
    assert "trusted" in run(bundle).stdout
    nothing = run(str(tmp_path / "nothing"))
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
