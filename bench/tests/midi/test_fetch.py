"""Packages are verified before they are unpacked, and unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from robustmerge.errors import MergeError
from robustmerge_bench.midi.sources import packages
from robustmerge_bench.midi.sources.archives import members, unpack
from robustmerge_bench.midi.sources.fetch import DOWNLOADS, fetch
from robustmerge_bench.midi.sources.packages import PACKAGES, Package, unpacked

CONTENT = {"a/b.txt": b"two words", "c.bin": bytes(range(9))}


def tar(mode: str, names: dict[str, bytes] = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as file:
        for name, data in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def ar(parts: dict[str, bytes]) -> bytes:
    """By the format's description: headers of 60 bytes, members at even bytes."""
    content = b"!<arch>\n"
    for name, data in parts.items():
        content += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        content += data + b"\n" * (len(data) % 2)
    return content


def archive(folder: Path, ending: str) -> Path:
    file = folder / f"package{ending}"
    if ending == ".whl":
        with zipfile.ZipFile(file, "w") as wheel:
            for name, data in CONTENT.items():
                wheel.writestr(name, data)
    elif ending == ".tgz":
        file.write_bytes(tar("gz"))
    else:
        parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": tar("xz")}
        file.write_bytes(ar(parts))
    return file


def package(file: Path, client: str = "test") -> Package:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Package("@a/package", "1", client, digest, "MIT", "tests")


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("ending", [".whl", ".tgz", ".deb"])
def test_archives_are_unpacked(tmp_path: Path, ending: str) -> None:
    (tmp_path / "out").mkdir()
    unpack(archive(tmp_path, ending), tmp_path / "out")
    assert files(tmp_path / "out") == CONTENT


def test_members_of_odd_length_are_followed_by_others() -> None:
    parts = {"first": b"odd", "second": b"even"}
    assert dict(members(ar(parts))) == parts


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    for ending in (".whl", ".tgz", ".deb"):
        file = archive(tmp_path, ending)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(MergeError, match="damaged"):
            unpack(file, tmp_path)
    with pytest.raises(MergeError, match="not read"):
        unpack(tmp_path / "x.rar", tmp_path)


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    file = tmp_path / "package.tgz"
    file.write_bytes(tar("gz", {"../outside": b""}))
    (tmp_path / "out").mkdir()
    with pytest.raises(MergeError):
        unpack(file, tmp_path / "out")
    assert not (tmp_path / "outside").exists()


def test_a_download_is_used_that_has_the_hash(tmp_path: Path) -> None:
    downloads = tmp_path / "sources" / DOWNLOADS
    downloads.mkdir(parents=True)
    own = package(archive(downloads, ".tgz"), client="missing")
    lines: list[str] = []
    fetch(tmp_path / "sources", [own], lines.append)
    assert files(unpacked(tmp_path / "sources", own)) == CONTENT
    fetch(tmp_path / "sources", [own], lines.append)
    assert lines == ["@a/package 1: MIT; tests", "@a/package 1: there"]


def test_an_unpacking_that_was_stopped_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    sources = tmp_path / "sources"
    (sources / DOWNLOADS).mkdir(parents=True)
    own = package(archive(sources / DOWNLOADS, ".tgz"), client="missing")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stopped)
        with pytest.raises(KeyboardInterrupt):
            fetch(sources, [own])
    assert [path.name for path in sources.iterdir()] == [DOWNLOADS]
    (sources / f".{own.folder}-0a1b").mkdir()  # as a killed process leaves it
    fetch(sources, [own])
    assert files(unpacked(sources, own)) == CONTENT


def copying(file: Path) -> list[str]:
    code = f"import shutil; shutil.copy({str(file)!r}, '.')"
    return [sys.executable, "-c", code]


def test_a_client_downloads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = archive(tmp_path, ".deb")
    monkeypatch.setattr(
        "robustmerge_bench.midi.sources.fetch.CLIENTS", {"test": lambda _: copying(file)}
    )
    fetch(tmp_path / "sources", [package(file)])
    assert files(tmp_path / "sources" / "a-package") == CONTENT
    assert files(tmp_path / "sources" / DOWNLOADS) == {file.name: file.read_bytes()}


def test_another_file_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = archive(tmp_path, ".tgz")
    commands = {
        "other": lambda _: copying(file),
        "failing": lambda _: [sys.executable, "-c", "raise SystemExit('no network')"],
        "absent": lambda _: ["no-such-client"],
    }
    monkeypatch.setattr("robustmerge_bench.midi.sources.fetch.CLIENTS", commands)
    for client, message in (
        ("other", "another file"),
        ("failing", "failed"),
        ("absent", "not installed"),
    ):
        wanted = replace(package(file, client), sha256="0" * 64)
        with pytest.raises(MergeError, match=message) as caught:
            fetch(tmp_path / "sources", [wanted])
        assert wanted.sha256 in str(caught.value.hint) + str(caught.value.where)
        assert not files(tmp_path / "sources")


def test_every_package_says_all_of_itself() -> None:
    assert len({each.folder for each in PACKAGES}) == len(PACKAGES)
    for each in PACKAGES:
        command = packages.CLIENTS[each.client](each)
        assert any(each.version in part for part in command)
        assert len(bytes.fromhex(each.sha256)) == 32
        assert each.license
        assert each.use
