"""Folders as people have them: parts of downloads, archives, caches, files of other saves."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from factories.adapters import LLM, adapter, deltas
from faults.refuse import command, refused_merge, tree
from robustmerge import MergeError, merge
from robustmerge.adapter.reader import Adapter
from robustmerge.cli.app import run

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
ONE, TWO = (f"adapter_model-0000{n}-of-00002.safetensors" for n in (1, 2))


def sharded(folder: Path, listed: Mapping[str, range], held: Mapping[str, range]) -> Path:
    """An adapter of 12 tensors in shards; the index lists some of them, the shards hold some."""
    adapter(folder)
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    for file, numbers in held.items():
        save_file({names[n]: tensors[names[n]] for n in numbers}, folder / file)
    table = {names[n]: file for file, numbers in listed.items() for n in numbers}
    index = {"metadata": {}, "weight_map": table}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return folder


HALVES = {ONE: range(6), TWO: range(6, 12)}


def test_shards_whose_index_is_right_are_the_adapter(tmp_path: Path) -> None:
    merge([sharded(tmp_path / "a", HALVES, HALVES)], tmp_path / "m", method="task-arithmetic")
    merge([adapter(tmp_path / "b")], tmp_path / "n", method="task-arithmetic")
    assert (tmp_path / "m" / WEIGHTS).read_bytes() == (tmp_path / "n" / WEIGHTS).read_bytes()


def test_a_shard_of_another_save(tmp_path: Path) -> None:
    """The second shard has lost a module: the merge had 5 of 6, and said nothing."""
    folder = sharded(tmp_path / "a", HALVES, {**HALVES, TWO: range(8, 12)})
    refused_merge(tmp_path, [folder], "the index names 2 tensors that no shard has", ".index.json")


def test_an_index_of_another_save(tmp_path: Path) -> None:
    """The index names one of two shards: the merge had 3 of 6 modules."""
    folder = sharded(tmp_path / "a", {ONE: range(6)}, HALVES)
    refused_merge(tmp_path, [folder], f"{TWO} may hold trained tensors")


def test_shards_next_to_a_whole_file(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "a", HALVES, HALVES)
    adapter(folder, seed=5)
    refused_merge(tmp_path, [folder], f"{ONE}, {TWO} may hold trained tensors")


def test_a_shard_of_no_save_at_all(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "a", {**HALVES, ONE: range(6)}, {ONE: range(6)})
    refused_merge(tmp_path, [folder], f"the index names {TWO}, which is missing")


LINKS = (WEIGHTS, "non_lora_trainables.bin", "non_lora.safetensors", "tokenizer.json", SETTINGS)


@pytest.mark.parametrize("name", LINKS)
def test_a_link_to_a_file_that_is_gone(name: str, tmp_path: Path) -> None:
    """A pruned cache of the Hub: a projector whose link led nowhere was left out in silence."""
    folder = adapter(tmp_path / "a")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../blobs/0a1b")
    refused_merge(tmp_path, [folder], f"{name}: a link to a file that is gone, ../blobs/0a1b")


@pytest.mark.parametrize("name", [WEIGHTS, "non_lora_trainables.bin", "added_tokens.json"])
def test_a_pipe_in_the_place_of_a_file(name: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused_merge(tmp_path, [folder], f"{name}: no regular file")


def test_other_links_that_lead_nowhere_are_no_loss(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / "README.md").symlink_to("gone")
    (folder / "runs").symlink_to("gone")
    merge([folder], tmp_path / "m")


def cache(root: Path) -> Path:
    """A repository in the Hub's cache."""
    revision = root / "snapshots" / "0a1b"
    adapter(revision)
    (root / "blobs").mkdir()
    for number, name in enumerate((WEIGHTS, SETTINGS)):
        shutil.move(revision / name, root / "blobs" / str(number))
        (revision / name).symlink_to(f"../../blobs/{number}")
    adapter(root / "snapshots" / "ffff")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0a1b")
    return root


def siblings(root: Path) -> Path:
    for seed, name in enumerate("abc"):
        adapter(root / name, seed=seed)
    return root


def checkpoints(root: Path) -> Path:
    for number in (200, 1000):
        adapter(root / f"checkpoint-{number}")
    return root


FOLDERS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "the cache of a repository": (cache, "a folder of the Hub's cache", "x/snapshots/0a1b"),
    "a folder of adapters": (siblings, "a folder with adapters in a, b, c", "x/a x/b x/c"),
    "a run's folder": (checkpoints, "a run's folder", "x/checkpoint-1000"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_the_advice_for_a_folder_of_folders_works(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, problem, named = FOLDERS[case]
    make(Path("x"))
    code, errors = command("merge", "x", "-o", "m")
    assert (code, problem in errors) == (1, True), errors
    assert errors.rstrip().endswith(named)
    assert run(["merge", *named.split(), "-o", "m"]) == 0


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "xztar"])
def test_an_archive_is_to_be_unpacked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter(Path("source"))
    name = Path(shutil.make_archive("a", kind, "source")).name
    code, errors = command("merge", name, "-o", "m")
    (line,) = re.findall(r"`(.+)`", errors)
    assert (code, "unpack it first" in errors) == (1, True)
    _, *words = shlex.split(line)
    subprocess.run([shutil.which("python") or "python", *words], check=True)
    assert run(["merge", "a", "-o", "m"]) == 0


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS])
def test_a_file_of_the_adapter_in_place_of_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter(Path("a"))
    code, errors = command("merge", f"a/{name}", "-o", "m")
    assert (code, errors.rstrip().endswith("give its folder: a")) == (1, True)


@pytest.mark.parametrize("width", ["0", "1", "12"])
def test_a_screen_of_no_width(
    width: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some containers say COLUMNS=0: tables were cut to nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", width)
    adapter(Path("a"))
    assert run(["merge", "a", "-o", "m", "-m", "ties"]) == 0
    assert "energy kept" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n\n"])
def test_settings_with_other_ends_of_lines(ending: str, tmp_path: Path) -> None:
    folder, plain = adapter(tmp_path / "a"), adapter(tmp_path / "b")
    text = json.dumps(json.loads((folder / SETTINGS).read_text()), indent=2)
    (folder / SETTINGS).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", ending).encode())
    merge([folder], tmp_path / "m", method="ties")
    merge([plain], tmp_path / "n", method="ties")
    assert (tmp_path / "m" / WEIGHTS).read_bytes() == (tmp_path / "n" / WEIGHTS).read_bytes()


def test_a_model_s_config_in_an_adapters_folder_changes_nothing(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / "config.json").write_text('{"model_type": "llava"}')
    merge([folder], tmp_path / "m", method="task-arithmetic")
    assert deltas(tmp_path / "m").keys() == LLM.keys()
    assert not (tmp_path / "m" / "config.json").exists()


def test_times_that_no_clock_has(tmp_path: Path) -> None:
    folders = [adapter(tmp_path / name, seed=n) for n, name in enumerate("ab")]
    for folder, time in zip(folders, (-5e9, 2.0**33), strict=True):
        for path in folder.iterdir():
            os.utime(path, (time, time))
    merge(folders, tmp_path / "m", method="ties")
    os.utime(tmp_path / "m" / "merge.json", (0, 0))
    merge(folders, tmp_path / "m", method="ties", force=True)


def test_a_rank_above_the_matrix(tmp_path: Path) -> None:
    shapes = {next(iter(LLM)): (8, 6)}
    folder = adapter(tmp_path / "a", rank=64, alpha=64, modules=shapes)
    merge([folder], tmp_path / "m", method="task-arithmetic")
    merge([folder], tmp_path / "full", method="task-arithmetic", rank="full")
    wanted = deltas(folder)
    for result in ("m", "full"):
        for name, delta in deltas(tmp_path / result).items():
            assert float((delta - wanted[name]).norm() / wanted[name].norm()) < 1e-6
    assert Adapter(tmp_path / "full").config.rank == 6


def test_refusals_leave_the_inputs_alone(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    before = tree(tmp_path)
    for output in (folder, tmp_path, folder / WEIGHTS):
        with pytest.raises(MergeError):
            merge([folder], output, force=True)
    assert tree(tmp_path) == before
