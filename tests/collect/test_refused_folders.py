"""What `collect` refuses, before anything is written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.bases import lines
from faults.refuse import command, refused
from robustmerge.collect.folders import collect_folders
from robustmerge.collect.samples import Samples

WRONG: Sequence[tuple[str, str]] = [
    ("", "no samples"),
    ("\n\n", "no samples"),
    ("nonsense", "not JSON"),
    ('{"text": "w5"}\n[1]', "line 2"),
    ('{"question": "w5"}', "unknown field of a sample 'question'"),
    ('{"answer": "w5"}', "either a text or a prompt"),
    ('{"text": "a", "prompt": "b"}', "either a text or a prompt"),
    ('{"text": "a", "answer": "b"}', "belongs to a prompt"),
    ('{"text": 3}', "are text"),
    ('{"prompt": "a", "answer": 3}', "are text"),
    ('{"text": "a", "images": "x.png"}', "path of a file"),
    ('{"text": "a", "image": null}', "path of a file"),
    ('{"text": "a", "image": "x.png"}', "no such image"),
    ('{"text": "a", "image": "x.png", "images": []}', "either an image or images"),
]


@pytest.mark.parametrize(("content", "said"), WRONG, ids=range(len(WRONG)))
def test_samples_that_are_none(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(content)
    refused(lambda: Samples.read(path, 10), said, str(path))


def test_only_so_many_samples_are_read(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"text": "a"}\n\n{"text": "b"}\nnonsense\n')
    assert [s.text for s in Samples.read(tmp_path / "s.jsonl", 2).samples] == ["a", "b"]


def test_what_is_refused_before_anything_is_loaded(
    location: Path, arguments: list[str], tmp_path: Path
) -> None:
    stats = tmp_path / "new" / "stats"
    for more, part in (
        (["--limit", "0"], "--limit"),
        (["--device", "cuda:99"], "no device"),
        (["--samples", location / "vqa.jsonl"], "3 files of samples for 2 adapters"),
    ):
        code, said = command(*arguments, *more, "-o", stats)
        assert (code, part in said) == (1, True), said
    assert command(*arguments, "--what", "hessian", "-o", stats)[0] == 2
    code, said = command(*arguments, "-o", location / "vqa", "--force")
    assert code == 1
    assert "would replace an input" in said
    assert not stats.parent.exists()


def test_an_image_for_a_language_model(location: Path, tmp_path: Path) -> None:
    refused(
        lambda: collect_folders(
            [location / "left"], location / "text", [location / "vqa.jsonl"], tmp_path / "stats"
        ),
        "no processor for images",
        "line 1",
    )


def test_a_damaged_image(location: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    lines(tmp_path / "s.jsonl", [{"prompt": "w5", "image": "x.png"}])
    refused(
        lambda: collect_folders(
            [location / "vqa"],
            location / "base",
            [tmp_path / "s.jsonl"],
            tmp_path / "new" / "stats",
        ),
        "cannot read the image",
        "x.png",
    )
    assert not (tmp_path / "new").exists()


def test_a_device_without_memory(
    location: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")

    monkeypatch.setattr("torch.nn.functional.silu", full)
    refused(
        lambda: collect_folders(
            [location / "vqa"],
            location / "base",
            [location / "vqa.jsonl"],
            tmp_path / "new" / "stats",
        ),
        "out of memory",
        "--dtype bfloat16",
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("base", ["nowhere", "vqa", "text"])
def test_another_base(location: Path, tmp_path: Path, base: str) -> None:
    lines(tmp_path / "s.jsonl", [{"text": "w5"}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        refused(
            lambda: collect_folders(
                [location / "vqa"],
                location / base,
                [tmp_path / "s.jsonl"],
                tmp_path / "new" / "stats",
            )
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_that_peft_loads_in_part(location: Path, tmp_path: Path) -> None:
    shutil.copytree(location / "left", tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(path)
    upper = {name: tensor for name, tensor in tensors.items() if "layers.1" in name}
    more = {n.replace("layers.1", "layers.2"): t.clone() for n, t in upper.items()}
    save_file(tensors | more, path)
    lines(tmp_path / "s.jsonl", [{"text": "w5"}])
    refused(
        lambda: collect_folders(
            [tmp_path / "a"], location / "text", [tmp_path / "s.jsonl"], tmp_path / "stats"
        ),
        "4 of 12 tensors are not in the model",
    )


@pytest.mark.parametrize("module", ["transformers", "peft"])
def test_without_the_libraries(
    arguments: list[str], tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        n for n in sys.modules if n.startswith(("robustmerge.collect", "robustmerge.peft"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    code, said = command(*arguments, "-o", tmp_path / "stats")
    assert code == 1
    assert f"needs {module}" in said
    assert "robustmerge[collect]" in said
