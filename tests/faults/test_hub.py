"""Names of the Hub: what is no such name is refused unasked, and the cache serves without a net."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from factories.adapters import adapter, deltas
from faults.refuse import command, refused
from robustmerge.adapter import source
from robustmerge.adapter.base import Base

DRIVER = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from robustmerge.cli.app import run
done = []
for arguments in json.load(sys.stdin):
    with redirect_stderr(io.StringIO()) as errors, redirect_stdout(io.StringIO()):
        done.append([run(arguments), errors.getvalue()])
print(json.dumps(done))
"""
HEAD = {"lm_head.weight": torch.ones(3, 2)}


@pytest.mark.parametrize(
    "name",
    [
        "owner/name:../../etc",
        "owner/name:a/../../../etc",
        "owner/name:..",
        "owner/name:.",
        "owner/name:/etc",
        "owner/name:a//b",
        "owner/name@../x",
        "owner/name@../../models--other--one/refs/main",
        "owner/name@/etc/hostname",
        "owner/name@main:../x",
        "owner/..",
        "owner/.",
    ],
)
def test_a_name_that_leads_out_of_the_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(source, "snapshot", None)
    error = refused(lambda: source.locate(name), "leads out of the repository")
    assert error.where == name
    assert command("merge", name, "-o", tmp_path / "out")[0] == 1


@pytest.mark.parametrize(
    "name",
    [
        "",
        "missing",
        "./missing",
        "../missing",
        "/missing/folder",
        "~/missing/folder",
        "owner/name/folder",
        "owner/name@",
        "owner/name:",
        "https://huggingface.co/owner/name",
        "owner/na me",
        "owner\\name",
        "owner/name\n",
        "owner/name\0",
        "../x@../y:../z",
    ],
)
def test_what_is_neither_a_folder_nor_a_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(source, "snapshot", None)
    error = refused(lambda: source.locate(name), "not a Hub id", "owner/name[@revision]")
    assert error.where == name


@pytest.mark.parametrize("name", ["owner", "owner/name/more", "../name", "/name", "~nobody/x"])
def test_a_base_that_is_neither(name: str) -> None:
    refused(lambda: Base(name), "not a Hub id")


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 300 + "/y"])
def test_a_name_too_long_for_the_disk(name: str) -> None:
    for action in (source.locate, Base):
        refused(lambda action=action: action(name), "cannot read the file: File name too long")


def test_a_file_where_a_folder_is_wanted(tmp_path: Path) -> None:
    file = adapter(tmp_path / "a") / "adapter_model.safetensors"
    refused(lambda: source.locate(str(file)), "not a folder", str(file))


def store(cache: Path, repository: str, revision: str, files: Path) -> None:
    """Put files into a cache as the Hub's client does: blobs, a snapshot of links, a reference."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    commit = f"{len(list(folder.glob('refs/*'))) + 1:040x}"
    for file in filter(Path.is_file, files.rglob("*")):
        blob = folder / "blobs" / f"{commit}{len(list(folder.glob('blobs/*')))}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(file.read_bytes())
        link = folder / "snapshots" / commit / file.relative_to(files)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a few repositories, and what they were made of."""
    root = tmp_path_factory.mktemp("hub")
    for i, (name, options) in enumerate(REPOSITORIES.items()):
        adapter(root / name, seed=i, **options)
    adapter(root / "nested" / "deep" / "one", seed=7)
    (root / "config_only" / "adapter_model.safetensors").unlink()
    (root / "base").mkdir()
    save_file({"lm_head.weight": torch.zeros(3, 2)}, root / "base" / "one.safetensors")
    index = {"weight_map": {"lm_head.weight": "one.safetensors"}}
    (root / "base" / "model.safetensors.index.json").write_text(json.dumps(index))
    (root / "evil").mkdir()
    index = {"weight_map": {"lm_head.weight": "../../../../evil.safetensors"}}
    (root / "evil" / "model.safetensors.index.json").write_text(json.dumps(index))
    for repository, revision, name in STORED:
        store(root / "cache", repository, revision, root / name)
    return root


REPOSITORIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "older": {},
    "binary": {"binary": True},
    "config_only": {},
    "head_a": {"extras": HEAD},
    "head_b": {"extras": HEAD},
}
STORED = [
    ("owner/plain", "main", "plain"),
    ("owner/plain", "v1", "older"),
    ("owner/binary", "main", "binary"),
    ("owner/nested", "main", "nested"),
    ("owner/config", "main", "config_only"),
    ("owner/base", "main", "base"),
    ("owner/evil", "main", "evil"),
]


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, tuple[int, str]]:
    """What merging from the cache comes to, by the name of the output."""
    heads = [str(folder / "head_a"), str(folder / "head_b"), "--extras=sum"]
    merges = {
        "plain": ["owner/plain"],
        "older": ["owner/plain@v1"],
        "binary": ["owner/binary"],
        "nested": ["owner/nested:deep/one/"],
        "several": ["owner/plain", "owner/plain@v1", "owner/nested@main:deep/one"],
        "base": [*heads, "--base=owner/base"],
        "absent": ["owner/absent"],
        "revision": ["owner/plain@v2"],
        "subfolder": ["owner/nested:deep/two"],
        "config": ["owner/config"],
        "top": ["owner/nested"],
        "evil": [*heads, "--base=owner/evil"],
        "nobase": [*heads, "--base=owner/absent"],
    }
    options = ["--method=task-arithmetic", "--rank=full"]
    tasks = [["merge", *of, "-o", str(folder / "out" / n), *options] for n, of in merges.items()]
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "cache")}
    result = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(tasks),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return dict(zip(merges, map(tuple, json.loads(result.stdout)), strict=True))


@pytest.mark.parametrize("name", ["plain", "older", "binary", "nested"])
def test_an_adapter_from_the_cache(
    folder: Path, done: dict[str, tuple[int, str]], name: str
) -> None:
    assert done[name][0] == 0, done[name][1]
    merged = deltas(folder / "out" / name)
    wanted = adapter(
        folder / "wanted" / name, seed={"older": 1, "binary": 2, "nested": 7}.get(name, 0)
    )
    assert all(torch.allclose(merged[n], d, atol=1e-5) for n, d in deltas(wanted).items())


def test_several_from_the_cache_and_their_names_in_the_record(
    folder: Path, done: dict[str, tuple[int, str]]
) -> None:
    assert done["several"][0] == 0, done["several"][1]
    record = json.loads((folder / "out" / "several" / "merge.json").read_text())
    names = ["owner/plain", "owner/plain@v1", "owner/nested@main:deep/one"]
    assert [entry["source"] for entry in record["inputs"]] == names


def test_a_base_from_the_cache(folder: Path, done: dict[str, tuple[int, str]]) -> None:
    assert done["base"][0] == 0, done["base"][1]


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("absent", ["cannot be fetched from the Hub", "where: owner/absent"]),
        ("revision", ["cannot be fetched from the Hub", "where: owner/plain@v2"]),
        ("subfolder", ["has neither adapter_model.safetensors nor", "owner/nested:deep/two"]),
        ("config", ["has neither adapter_model.safetensors nor", "where: owner/config"]),
        ("top", ["has neither adapter_model.safetensors nor", "owner/name:subfolder"]),
        ("evil", ["'../../../../evil.safetensors'", "do not trust this checkpoint"]),
        ("nobase", ["cannot be fetched from the Hub", "where: owner/absent"]),
    ],
)
def test_what_the_cache_lacks(
    folder: Path, done: dict[str, tuple[int, str]], name: str, messages: list[str]
) -> None:
    code, errors = done[name]
    assert code == 1
    assert "Traceback" not in errors
    for part in messages:
        assert part in errors
    assert not (folder / "out" / name).exists()
