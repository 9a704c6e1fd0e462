"""Inputs and machines that ended in a traceback or in nothing at all."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from factories.adapters import adapter, trio
from factories.checkpoints import base
from faults.refuse import command, merge, refused, refused_merge
from robustmerge.adapter import tensors
from robustmerge.adapter.reader import Adapter
from robustmerge.adapter.tensor_files import hash_weights
from robustmerge.errors import enough_memory
from robustmerge.statistic_kinds import KINDS, TENSORS, ModuleSizes
from robustmerge.threads import run_side_by_side, silent


def write_statistics(folder: Path, source: Path, value: float) -> Path:
    """Write a folder as `collect` does, of one value in every Gram matrix."""
    folder.mkdir()
    opened = Adapter(source)
    found = {
        f"{name}.{need}": torch.full(
            TENSORS[need].shape(ModuleSizes(*m.shape, rank=m.rank, ranks=m.rank)),
            value,
            dtype=torch.float64,
        )
        for name, m in opened.modules.items()
        for need in KINDS["gram"].names
    }
    save_file(found, folder / "1-a.safetensors")
    entry = {
        "adapter": str(source),
        "weights": hash_weights(opened.paths.weights),
        "file": "1-a.safetensors",
        "ranks": {name: m.rank for name, m in opened.modules.items()},
    }
    record = {"format": 1, "what": ["gram"], "adapters": [entry]}
    (folder / "statistics.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_statistics_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    """Kind F: NaN or infinite statistics ended in LinAlgError."""
    source = adapter(tmp_path / "a")
    stats = write_statistics(tmp_path / "stats", source, value)
    refused_merge(
        tmp_path,
        [source],
        "NaN or infinite",
        "1-a.safetensors",
        method="regmean-rows",
        data=str(stats),
    )


@pytest.mark.parametrize("value", [0.0, -1.0, 1e300, 1e-320])
def test_statistics_that_no_model_has(tmp_path: Path, value: float) -> None:
    """A merge or a refusal, whatever the numbers are."""
    source = adapter(tmp_path / "a")
    stats = write_statistics(tmp_path / "stats", source, value)
    arguments = ["merge", source, "-m", "regmean-rows", "--data", stats, "-o", tmp_path / "out"]
    code, errors = command(*arguments)
    assert code in (0, 1)
    assert "Traceback" not in errors


def test_numbers_that_cannot_be_decomposed(tmp_path: Path) -> None:
    def work(name: str) -> float:
        return float(torch.linalg.svdvals(torch.full((3, 3), float("nan")))[0])

    error = refused(lambda: list(run_side_by_side(work, ["q_proj"], 1, silent)), "decomposed")
    assert error.where == "q_proj"


def exhaust(message: str) -> None:
    raise torch.cuda.OutOfMemoryError(message)


MEMORY: dict[str, Callable[[], object]] = {
    "python": lambda: bytearray(1 << 62),
    "torch": lambda: torch.empty(1 << 58),
    "accelerator": lambda: exhaust("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "threads": lambda: list(
        run_side_by_side(lambda _: torch.empty(1 << 58), ["q_proj"], 1, silent)
    ),
}


@pytest.mark.parametrize("kind", MEMORY)
def test_an_exhausted_memory(kind: str) -> None:
    def act() -> None:
        with enough_memory():
            MEMORY[kind]()

    refused(act, "out of memory", "--workers")


def test_other_errors_are_no_memory() -> None:
    with pytest.raises(RuntimeError, match="size"), enough_memory():
        torch.ones(2) @ torch.ones(3)


def test_a_merge_that_runs_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: can't allocate memory"

    def fail(*_: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(tensors, "_working", fail)
    refused_merge(tmp_path, trio(tmp_path / "in"), "out of memory")


SCRIPT = f"{sys.executable} -m robustmerge"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk that is always there")
@pytest.mark.parametrize("more", ["", "--json"])
def test_standard_output_on_a_full_disk(tmp_path: Path, more: str) -> None:
    """Kind F: the merge was written, then came a traceback."""
    sources = " ".join(trio(tmp_path / "in"))
    line = f"{SCRIPT} merge {sources} -o {tmp_path}/out {more} > /dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot write to standard output: No space left on device" in done.stderr
    assert (tmp_path / "out" / "merge.json").is_file()


def test_more_adapters_times_workers_than_open_files(tmp_path: Path) -> None:
    """Kind F: 60 adapters and 32 workers failed at the usual limit of 1024 open files."""
    modules = {f"layers.{n}.q_proj": (6, 8) for n in range(4)}
    sources = [adapter(tmp_path / str(n), seed=n, rank=1, modules=modules) for n in range(60)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 75, hard))  # 32 for single reads, and spare
    try:
        few = threading.BoundedSemaphore(20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensors, "_kept_open", few)
            report = merge(sources, tmp_path / "out", method="task-arithmetic", workers=32)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert report.rank == 1
    merge(sources, tmp_path / "again", method="task-arithmetic", workers=1)
    made, again = (tmp_path / n / "adapter_model.safetensors" for n in ("out", "again"))
    assert made.read_bytes() == again.read_bytes()


def test_files_are_closed(tmp_path: Path) -> None:
    opened = Adapter(adapter(tmp_path / "a"))
    free = tensors._kept_open._value
    opened.factors(next(iter(opened.modules)))
    assert tensors._kept_open._value == free - 1
    opened.close()
    opened.close()
    assert tensors._kept_open._value == free
    opened.factors(next(iter(opened.modules)))
    opened.close()


def test_too_few_files_are_said_to_be_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, opened = adapter(tmp_path / "a"), os.open

    def fail(path: Path, *of: int) -> int:
        if str(path).endswith("adapter_model.safetensors"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opened(path, *of)

    monkeypatch.setattr(os, "open", fail)
    refused(lambda: merge([source], tmp_path / "out"), "Too many open files", "ulimit -n")


ENDLESS = r"(\w+\.?)*x{2}!"


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha_pattern": {ENDLESS: 16}},
        {"rank_pattern": {"(a|aa)+b": 4, "(.*a){30}": 4}},
        {"target_modules": ENDLESS},
        {"exclude_modules": r"(.*)*(.*)*(.*)*(.*)*x"},
        {"modules_to_save": [r"(.*)*(.*)*(.*)*x"]},
        {"layers_to_transform": [0], "layers_pattern": ["(a*)*b", ENDLESS]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_patterns_that_never_end(tmp_path: Path, settings: dict[str, object]) -> None:
    """Kind F: a regex in alpha_pattern that never ends."""
    name = "model.layers.0." + "a" * 60
    sources = [
        adapter(tmp_path / n, seed=i, modules={name: (6, 8)}, **settings)
        for i, n in enumerate("ab")
    ]
    (tmp_path / "base").mkdir()
    save_file({f"{name}.weight": torch.zeros(6, 8)}, tmp_path / "base" / "model.safetensors")
    for arguments in (
        ["merge", *sources, "-o", tmp_path / "out"],
        ["show", *sources],
        ["check", sources[0], "--base", tmp_path / "base"],
    ):
        code, errors = command(*arguments)
        assert code in (0, 1)
        assert "Traceback" not in errors


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_unpacks_to_more(tmp_path: Path, method: int) -> None:
    """Kind F: a `.bin` of 4 MB that unpacks to 8.5 GB."""
    folder = adapter(tmp_path / "a", binary=True)
    file = folder / "adapter_model.bin"
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/bomb", bytes(50_000_000))
    assert file.stat().st_size < 1_000_000
    refused_merge(tmp_path, [folder], "unpacks to 50.", "adapter_model.bin")


def test_an_archive_whose_parts_lie_over_one_another(tmp_path: Path) -> None:
    """Stored parts that share their bytes unpack to more than the file, too."""
    folder = adapter(tmp_path / "a", binary=True)
    file = folder / "adapter_model.bin"
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/data/x", bytes(5000))
        info = archive.getinfo("archive/data/x")
        for n in range(20):
            other = zipfile.ZipInfo(f"archive/data/y{n}")
            other.file_size = other.compress_size = info.file_size
            other.CRC, other.header_offset = info.CRC, info.header_offset
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
        archive._didModify = True  # type: ignore[attr-defined]
    refused_merge(tmp_path, [folder], "unpacks to", "adapter_model.bin")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes that have a name")
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "a.yaml"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "link to a device"])
def test_what_is_no_regular_file(tmp_path: Path, name: str, kind: str) -> None:
    """Kind F: settings that are a pipe, which nobody ever writes to."""
    folder = adapter(tmp_path / "a")
    path = folder / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device" and os.geteuid() == 0:
        os.mknod(path, 0o20666, os.makedev(1, 5))  # zeros without end
    else:
        path.symlink_to("/dev/zero")
    source = path if name == "a.yaml" else folder
    code, errors = command("merge", source, "-o", tmp_path / "out")
    assert code == 1
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


MODEL_FILES = {
    "config.json": "merge a --base base",
    "tokenizer.json": "extract base --base base --rank 2",
    "preprocessor_config.json": "export a --format full --base base",
    "model.safetensors.index.json": "check a --base base",
}
"""Of a base, and a command that read it as if it were missing."""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes that have a name")
@pytest.mark.parametrize("name", MODEL_FILES)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link to nothing"])
def test_a_file_of_the_base_that_is_none(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe as the base's config.json made it a model of an unknown family."""
    monkeypatch.chdir(tmp_path)
    adapter(Path("a"))
    path = base(Path("base"), cuts=(3,)) / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "../blobs/0a1b")
    line = MODEL_FILES[name].split()
    code, errors = command(*line, *([] if line[0] == "check" else ["-o", "out"]))
    assert code == 1
    problem = "a link to a file that is gone" if kind == "link to nothing" else "no regular file"
    assert f"{name}: {problem}" in errors
    assert not Path("out").exists()


def test_settings_larger_than_any(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    with (folder / "adapter_config.json").open("r+b") as file:
        file.truncate(300_000_000)  # sparse
    refused_merge(tmp_path, [folder], "300 MB of settings")
