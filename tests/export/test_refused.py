"""Bad input to an export: an error that names it, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from factories.adapters import LLM, adapter
from factories.checkpoints import base, weights
from faults.refuse import command, refused, tree
from robustmerge import files
from robustmerge.cli.app import run
from robustmerge.export import export_adapter, rewrite

Make = Callable[[Path], object]


def settings(folder: Path, **more: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def other_name(root: Path) -> None:
    adapter(root / "a", modules={"model.language_model.layers.7.mlp.up_proj": (24, 16)})


def int8(root: Path) -> None:
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    tensors = weights() | {name: torch.ones(24, 16, dtype=torch.int8)}
    save_file(tensors, root / "base" / "model.safetensors")


def gptq(root: Path) -> None:
    name = "model.language_model.layers.0.self_attn.q_proj"
    tensors = weights() | {f"{name}.qweight": torch.ones(2, 24, dtype=torch.int32)}
    del tensors[f"{name}.weight"]
    save_file(tensors, root / "base" / "model.safetensors")


def tied(root: Path) -> None:
    save_file(weights(head=False), root / "base" / "model.safetensors")
    adapter(root / "a", modules=LLM | {"lm_head": (20, 16)}, ensure_weight_tying=True)


def resized(root: Path) -> None:
    embeddings = "model.language_model.embed_tokens.base_layer.weight"
    adapter(root / "a", extras={embeddings: torch.ones(20, 16)})


def twice(root: Path) -> None:
    name = "model.multi_modal_projector.linear_1.bias"
    adapter(root / "a", extras={name: torch.ones(6)})
    save_file({name: torch.ones(6)}, root / "a" / "non_lora.safetensors")


def dora(root: Path) -> None:
    lengths = {f"{name}.lora_magnitude_vector": torch.ones(shape[0]) for name, shape in LLM.items()}
    adapter(root / "a", extras=lengths, use_dora=True)


def dora_on_embeddings(root: Path) -> None:
    dora(root)
    path = root / "a" / "adapter_model.safetensors"
    name = "base_model.model.model.language_model.embed_tokens.lora_embedding_"
    factors = {f"{name}A": torch.ones(4, 20), f"{name}B": torch.ones(16, 4)}
    save_file(load_file(path) | factors, path)


def too_large(root: Path) -> None:
    save_file(weights(torch.float16), root / "base" / "model.safetensors")
    adapter(root / "a", alpha=1e6)


BOTH: dict[str, tuple[Make, str]] = {
    "no base": (lambda root: (root / "base" / "model.safetensors").unlink(), "neither model.safe"),
    "no settings": (lambda root: (root / "base" / "config.json").unlink(), "no config.json"),
    "other modules": (other_name, "there is no model.language_model.layers.7.mlp.up_proj.weight"),
    "other shape": (
        lambda root: adapter(root / "a", modules=dict.fromkeys(LLM, (9, 16))),
        "does not go with model.language_model.layers.0.mlp.down_proj.weight [16, 40]",
    ),
    "bias": (lambda root: adapter(root / "a", bias="all"), "bias = 'all'"),
    "twice": (twice, "two tensors are the same parameter"),
    "damaged": (lambda root: os.truncate(root / "base" / "model.safetensors", 900), "not a whole"),
}
FULL: dict[str, tuple[Make, str]] = {
    "fan_in_fan_out": (lambda root: adapter(root / "a", fan_in_fan_out=True), "fan_in_fan_out"),
    "quantized": (lambda root: settings(root / "base", quantization_config={"bits": 8}), "quant"),
    "int8": (int8, "a weight of the base is I8"),
    "gptq": (gptq, "a weight of the base is quantized"),
    "tied": (tied, "ensure_weight_tying is set"),
    "resized": (resized, "a copy of model.language_model.embed_tokens.weight with other values"),
    "DoRA": (dora_on_embeddings, "DoRA on embeddings"),
    "too large": (too_large, "F16, the type of the base, cannot hold"),
}
EMBEDDED: dict[str, tuple[Make, str]] = {"DoRA": (dora, "DoRA, whose magnitudes transformers")}
CASES = [(kind, name, *case) for kind in ("embedded", "full") for name, case in BOTH.items()]
CASES += [("full", name, *case) for name, case in FULL.items()]
CASES += [("embedded", name, *case) for name, case in EMBEDDED.items()]


@pytest.mark.parametrize(("kind", "name", "spoil", "messages"), CASES, ids=lambda v: str(v)[:20])
def test_refused_without_a_trace(
    kind: str, name: str, spoil: Make, messages: str, tmp_path: Path
) -> None:
    base(tmp_path / "base")
    adapter(tmp_path / "a")
    spoil(tmp_path)
    before, given = tree(tmp_path), str(tmp_path / "base")
    out = tmp_path / "new" / "out"
    refused(lambda: export_adapter(tmp_path / "a", out, format=kind, base=given), messages)
    assert tree(tmp_path) == before
    code, errors = command("export", tmp_path / "a", "--format", kind, "--base", given, "-o", out)
    assert code == 1
    assert messages in errors
    assert "Traceback" not in errors
    assert tree(tmp_path) == before


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    adapter(tmp_path / "a", base_model_name_or_path="./gone")
    adapter(tmp_path / "b", base_model_name_or_path=None)
    before = tree(tmp_path)
    export = lambda name, **k: export_adapter(tmp_path / name, tmp_path / "o", format="full", **k)  # noqa: E731
    refused(lambda: export("a"), "the base model that the adapter names", "./gone", "--base names")
    refused(lambda: export("b"), "the adapter names no base model")
    refused(lambda: export("a", base="./gone"), "no such folder")
    refused(lambda: export("gone"), "no such folder")
    refused(lambda: export_adapter(tmp_path / "a", "o", format="ful"), "did you mean full?")
    assert tree(tmp_path) == before


def test_the_base_that_the_adapter_names_is_taken(tmp_path: Path) -> None:
    adapter(tmp_path / "a", base_model_name_or_path=str(base(tmp_path / "base")))
    for kind in ("embedded", "full"):
        assert export_adapter(tmp_path / "a", tmp_path / kind, format=kind).base


@pytest.mark.parametrize("kind", ["embedded", "full"])
def test_only_an_older_export_is_replaced(kind: str, tmp_path: Path) -> None:
    model = str(base(tmp_path / "base"))
    adapter(tmp_path / "a")
    base(tmp_path / "mine")

    def export(out: str, **options: Any) -> None:
        export_adapter(tmp_path / "a", tmp_path / out, format=kind, base=model, **options)

    refused(lambda: export("base", force=True), "would replace an input")
    refused(lambda: export("mine"), "the output exists")
    refused(lambda: export("mine", force=True), "is not an export")
    export("out")
    refused(lambda: export("out"), "the output exists")
    export("out", force=True)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    refused(lambda: export("out", force=True), "notes.txt")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = str(base(tmp_path / "base"))
    adapter(tmp_path / "a")
    before = tree(tmp_path)

    def export() -> None:
        export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=model)

    with monkeypatch.context() as patch:
        usage = type("Usage", (), {"free": 1000})
        patch.setattr(files.shutil, "disk_usage", lambda path: usage)
        refused(export, "the disk has 0.0 MB free")
    assert tree(tmp_path) == before

    def fails(*of: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rewrite, "_write", fails)
    refused(export, "cannot write the output: No space left on device")
    assert tree(tmp_path) == before


def test_a_base_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = base(tmp_path / "base")
    adapter(tmp_path / "a", modules=dict([next(iter(LLM.items()))]))
    write = rewrite._write

    def touched(*of: Any) -> None:
        write(*of)
        os.utime(model / "model.safetensors", (0, 0))

    monkeypatch.setattr(rewrite, "_write", touched)
    refused(
        lambda: export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=str(model)),
        "changed while it was read",
    )
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(base(tmp_path / "base"))
    adapter(tmp_path / "a", extras={"model.multi_modal_projector.linear_1.bias": torch.ones(6)})
    for kind in ("embedded", "full"):
        out = str(tmp_path / kind)
        assert (
            run(["export", str(tmp_path / "a"), "--format", kind, "--base", model, "-o", out]) == 0
        )
        messages = capsys.readouterr().out
        for part in (kind, "6 low-rank updates", "1 tensors", "linear_1.bias", out, "next:"):
            assert part in messages, messages
    out = str(tmp_path / "again")
    arguments = ["export", str(tmp_path / "a"), "--format", "full", "--base", model, "-o", out]
    assert run([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["modules"] == 6
    assert printed["output_folder"] == out
    recorded = json.loads((tmp_path / "again" / "export.json").read_text())
    written = {path.name for path in (tmp_path / "again").iterdir()}
    assert {*recorded.pop("files"), "export.json"} == written
    assert {k: printed[k] for k in recorded} == recorded
    assert run([*arguments[:-1], out + "2", "--copy"]) == 1
    assert "nothing is linked in the format full" in capsys.readouterr().err
