# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import stat
import zipfile
from pathlib import Path

import pytest

from custom.errors import ConfigError
from custom.safety import Limits, read_manifest, safe_extract, verify_manifest, write_manifest


def pack(path: Path, entries: dict[str, bytes], manifest: bool = True) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        if manifest:
            files = {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in entries.items()}
            archive.writestr("manifest.json", json.dumps({"version": 1, "files": files}))
    return path


GOOD = {"configs/train.json": b"{}", "models/model.pt": b"x" * 5000}


def test_a_good_archive(tmp_path):
    archive = pack(tmp_path / "b.zip", GOOD)
    folder = safe_extract(archive, tmp_path / "out/bundle", sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    assert {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.name != "manifest.json" and p.is_file()
    } == GOOD
    verify_manifest(folder)


def _symlink(name: str, target: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def _attacks(tmp_path: Path) -> dict[str, Path]:
    made = {}
    for label, name in {
        "zip-slip": "../../evil.txt",
        "zip-slip inside": "configs/../../evil.txt",
        "absolute": "/tmp/evil.txt",
        "drive": "C:/evil.txt",
        "backslash": "..\\..\\evil.txt",
    }.items():
        made[label] = pack(tmp_path / f"{label}.zip", {"configs/a.json": b"{}", name: b"x"}, manifest=False)
    made["link"] = tmp_path / "link.zip"
    with zipfile.ZipFile(made["link"], "w") as archive:
        archive.writestr(_symlink("configs", "/etc"), "/etc")
        archive.writestr("configs/passwd", "x")
    made["device"] = tmp_path / "device.zip"
    with zipfile.ZipFile(made["device"], "w") as archive:
        entry = zipfile.ZipInfo("pipe")
        entry.external_attr = (stat.S_IFIFO | 0o644) << 16
        archive.writestr(entry, "")
    made["bomb"] = pack(tmp_path / "bomb.zip", {"a": bytes(30 << 20)}, manifest=False)
    made["twice"] = tmp_path / "twice.zip"
    with zipfile.ZipFile(made["twice"], "w") as archive:
        archive.writestr("a.json", "1")
        archive.writestr("A.json", "2")
    made["encrypted"] = tmp_path / "encrypted.zip"
    pack(made["encrypted"], {"a": b"1"}, manifest=False)
    raw = bytearray(made["encrypted"].read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    made["encrypted"].write_bytes(raw)
    return made


@pytest.mark.parametrize(
    ("label", "message"),
    [
        *((label, "outside the folder") for label in ("zip-slip", "zip-slip inside", "absolute", "drive", "backslash")),
        ("link", "is a link"),
        ("device", "no plain file"),
        ("bomb", "grows by more than"),
        ("twice", "appears twice"),
        ("encrypted", "encrypted"),
    ],
)
def test_hostile_archives_write_nothing(tmp_path, label, message):
    archive = _attacks(tmp_path)[label]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        safe_extract(archive, tmp_path / "deep/er/out", require_manifest=False)
    after = [p for p in tmp_path.rglob("*") if not p.is_dir()]
    assert sorted(after) == [p for p in before if not p.is_dir()]
    assert not (tmp_path / "deep/er/out").exists()


def test_limits(tmp_path):
    archive = pack(tmp_path / "b.zip", {f"{i}": b"x" * 100 for i in range(20)})
    for limits, message in (
        (Limits(files=20), "more than the limit of 20"),
        (Limits(nbytes=1999), "would fill"),
        (Limits(depth=0), "folders deep"),
    ):
        with pytest.raises(ConfigError, match=message):
            safe_extract(archive, tmp_path / "out", limits)
    assert not (tmp_path / "out").exists()


def test_an_entry_that_lies_about_its_size(tmp_path):
    """The list says 10 bytes, the data hold 5 MB: what counts is what comes out."""
    archive = pack(tmp_path / "b.zip", {"a": bytes(5 << 20)}, manifest=False)
    raw = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = raw.index(signature) + offset
        raw[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(raw)
    with pytest.raises(ConfigError):
        safe_extract(archive, tmp_path / "out", Limits(nbytes=1 << 20), require_manifest=False)
    assert [p.name for p in tmp_path.iterdir()] == ["b.zip"]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:40], lambda b: b"", lambda b: b[:60] + b"\xff" * 40 + b[100:], lambda b: b"PK" * 99]
)
def test_damaged_archives(tmp_path, damage):
    archive = pack(tmp_path / "b.zip", GOOD)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(ConfigError):
        safe_extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_manifest_and_digest_are_required(tmp_path):
    bare = pack(tmp_path / "bare.zip", GOOD, manifest=False)
    with pytest.raises(ConfigError, match="manifest"):
        safe_extract(bare, tmp_path / "out")
    assert safe_extract(bare, tmp_path / "bare", require_manifest=False).is_dir()
    with pytest.raises(ConfigError, match="exists already"):
        safe_extract(bare, tmp_path / "bare", require_manifest=False)
    with pytest.raises(ConfigError, match="sha256 differs"):
        safe_extract(pack(tmp_path / "b.zip", GOOD), tmp_path / "out", sha256="0" * 64)
    entries = {**GOOD}
    archive = pack(tmp_path / "c.zip", entries)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("configs/extra.json", "{}")
    with pytest.raises(ConfigError, match=r"not in the manifest: configs/extra\.json"):
        safe_extract(archive, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["bare"]
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        safe_extract(tmp_path / "nothing.zip", tmp_path / "out")


def pack_in_a_folder(path: Path, top: str, extra: dict[str, bytes] | None = None) -> Path:
    inside = pack(path.with_suffix(".inside"), GOOD)
    with zipfile.ZipFile(inside) as source, zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{top}/", "")
        for name in source.namelist():
            archive.writestr(f"{top}/{name}", source.read(name))
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("required", [True, False])
def test_the_only_folder_of_an_archive_is_the_bundle(tmp_path, required):
    archive = pack_in_a_folder(tmp_path / "b.zip", "project-main")
    folder = safe_extract(archive, tmp_path / "out", require_manifest=required)
    assert (folder / "configs/train.json").read_bytes() == GOOD["configs/train.json"]
    verify_manifest(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.inside", "b.zip", "out"]


@pytest.mark.parametrize("beside", ["other.txt", "second/manifest.json", "top2/configs/a.json"])
def test_a_folder_beside_other_things_is_not_the_bundle(tmp_path, beside):
    archive = pack_in_a_folder(tmp_path / "b.zip", "top", {beside: b"{}"})
    with pytest.raises(ConfigError, match="manifest"):
        safe_extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (safe_extract(archive, tmp_path / "out", require_manifest=False) / "top/configs").is_dir()


def test_the_manifest_in_the_only_folder_counts(tmp_path):
    for number, extra in enumerate(({"top/configs/evil.json": b"{}"}, {"top/models/model.pt ": b""})):
        archive = pack_in_a_folder(tmp_path / f"{number}.zip", "top", extra)
        with pytest.raises(ConfigError, match="not in the manifest"):
            safe_extract(archive, tmp_path / "out")


def test_a_manifest_notices_every_change(tmp_path):
    for name, content in GOOD.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_manifest(tmp_path)
    verify_manifest(tmp_path)
    assert list(read_manifest(tmp_path / "manifest.json")) == sorted(GOOD)
    (tmp_path / "models/model.pt").write_bytes(b"y" * 5000)
    (tmp_path / "configs/train.json").rename(tmp_path / "configs/other.json")
    with pytest.raises(
        ConfigError,
        match=r"missing: configs/train.json; changed: models/model.pt; not in the manifest: configs/other.json",
    ):
        verify_manifest(tmp_path)
    (tmp_path / "models/model.pt").unlink()
    (tmp_path / "models/model.pt").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match=r"changed: models/model\.pt"):
        verify_manifest(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", "[" * 100_000, '{"version": 2, "files": {}}', '{"version": 1, "files": {"a": {}}}'),
        '{"version": 1, "files": {"a": {"sha256": "zz", "bytes": 1}}}',
        *(
            json.dumps({"version": 1, "files": {name: {"sha256": "0" * 64, "bytes": 0}}})
            for name in ("../a", "/a", "a/../../b", "C:/a", "..\\a", "", "a\0")
        ),
    ],
)
def test_damaged_manifests(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="cannot be used as a manifest"):
        read_manifest(tmp_path / "manifest.json")
