"""The folder of the original LLaVA code, read as that code reads it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from factories.adapters import LLM, adapter
from factories.checkpoints import base as converted_base
from factories.families import _TEXT, attach, build, save_adapter, text_inputs
from faults.refuse import command, refused, tree
from robustmerge.adapter.config import AdapterConfig
from robustmerge.adapter.reader import Adapter
from robustmerge.cli.app import run
from robustmerge.cli.export import FormatName, LayoutName
from robustmerge.export import EXPORTERS, export_adapter
from robustmerge.export.exported import Exporter

SETTINGS = {
    "model_type": "llava",
    "architectures": ["LlavaLlamaForCausalLM"],
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "vocab_size": 20,
}
FORMER = [e for e in EXPORTERS.values() if e.layout in get_args(LayoutName)]
"""The formats that the former option knew."""
PROJECTOR = {
    f"model.multi_modal_projector.linear_{n}.{leaf}": torch.randn(*shape)
    for n in (1, 2)
    for leaf, shape in (("weight", (6, 6)), ("bias", (6,)))
}


def original(folder: Path, **settings: Any) -> str:
    """An original base, of which the settings alone are read."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SETTINGS | settings))
    return str(folder)


def export(root: Path, **settings: Any) -> Path:
    out = root / "llava-lora-out"
    export_adapter(root / "a", out, format="original", base=original(root / "base", **settings))
    return out


def same_updates(item: Path, other: Path) -> None:
    with closing(Adapter(item)) as a, closing(Adapter(other)) as b:
        _same(a, b)


def _same(a: Adapter, b: Adapter) -> None:
    assert a.modules.keys() == b.modules.keys()
    for name in a.modules:
        x, y = a.factors(name), b.factors(name)
        rank = max(x.rank, y.rank)
        assert torch.equal(x.pad(rank).A, y.pad(rank).A)
        assert torch.equal(x.pad(rank).B, y.pad(rank).B)
    assert a.extras.keys() == b.extras.keys()
    for name, location in a.extras.items():
        assert torch.equal(location.read(), b.extras[name].read())
        assert location.spec == b.extras[name].spec


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_back_is_the_same(dtype: torch.dtype, tmp_path: Path) -> None:
    extras = {name: tensor.to(dtype) for name, tensor in PROJECTOR.items()}
    adapter(tmp_path / "a", alpha=7, dtype=dtype, extras=extras)
    out = export(tmp_path)
    same_updates(tmp_path / "a", out)
    assert Adapter(out).layout == "llava"
    tensors = torch.load(out / "adapter_model.bin", weights_only=True)
    assert {t.dtype for t in tensors.values()} == {dtype}
    assert json.loads((out / "config.json").read_text()) == SETTINGS


def test_unequal_ranks_and_scalings_become_equal_ones(tmp_path: Path) -> None:
    odd = "model.language_model.layers.1.self_attn.q_proj"
    patterns = {"rank_pattern": {odd: 2}, "alpha_pattern": {odd: 5}, "use_rslora": True}
    adapter(tmp_path / "a", ranks={odd: 2}, dtype=torch.bfloat16, **patterns)
    out = export(tmp_path)
    same_updates(tmp_path / "a", out)
    settings = json.loads((out / "adapter_config.json").read_text())
    assert not settings.keys() & {"rank_pattern", "alpha_pattern", "use_rslora"}
    assert {m.rank for m in Adapter(out).modules.values()} == {4}


def test_a_merged_folder_goes_there_and_back(tmp_path: Path) -> None:
    """Parameters beside the adapter too; and an original folder needs no base."""
    adapter(tmp_path / "a")
    save_file(PROJECTOR, tmp_path / "a" / "non_lora.safetensors")
    out = export(tmp_path)
    stored = torch.load(out / "non_lora_trainables.bin", weights_only=True)
    assert len(stored) == 4
    again = tmp_path / "LLaVA_7B_lora_r4"
    export_adapter(out, again, format="original")
    same_updates(out, again)
    assert (again / "config.json").read_text() == (out / "config.json").read_text()


def as_the_original_loads(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The renaming in its loader, told in words in evaluation notes: prefixes go one by one."""
    result = {}
    for name, tensor in stored.items():
        name = name.removeprefix("base_model.")
        result[name] = tensor
    if any(name.startswith("model.model.") for name in result):
        result = {name.removeprefix("model."): tensor for name, tensor in result.items()}
    return result


def test_the_original_loader_finds_everything(tmp_path: Path) -> None:
    """LLaVA's language model has the tree of a Llama, and PEFT puts the adapter on it."""
    saved = ["multi_modal_projector"]
    save_adapter("llava", tmp_path / "a", seed=1, modules_to_save=saved)
    whole = attach(build("llava"), tmp_path / "a")
    out = export(tmp_path, hidden_size=64, intermediate_size=96, vocab_size=310)

    llama = LlamaForCausalLM(LlamaConfig(**_TEXT)).eval()
    base = build("llava").state_dict()
    language = {n.replace("model.language_model.", "model."): t for n, t in base.items()}
    llama.load_state_dict({n: t for n, t in language.items() if n in llama.state_dict()})
    peft = PeftModel.from_pretrained(llama, str(out)).eval()
    with torch.no_grad():
        got, want = peft(**text_inputs()).logits, whole(**text_inputs()).logits
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)

    stored = torch.load(out / "non_lora_trainables.bin", weights_only=True)
    live = whole.merge_and_unload().state_dict()
    assert {n: t.tolist() for n, t in as_the_original_loads(stored).items()} == {
        f"model.mm_projector.{location}.{leaf}": live[
            f"model.multi_modal_projector.linear_{n}.{leaf}"
        ].tolist()
        for location, n in ((0, 1), (2, 2))
        for leaf in ("weight", "bias")
    }


def test_without_a_projector_the_file_is_there_and_empty(tmp_path: Path) -> None:
    adapter(tmp_path / "a")
    out = export(tmp_path)
    assert torch.load(out / "non_lora_trainables.bin", weights_only=True) == {}
    AdapterConfig.read(out)


def test_refused_without_a_trace(tmp_path: Path) -> None:
    root = tmp_path
    base = original(root / "base")
    wrong_size = original(root / "13b", hidden_size=32, intermediate_size=64)
    converted = root / "hf"
    converted.mkdir()
    (converted / "config.json").write_text('{"model_type": "llava", "text_config": {}}')
    adapter(root / "a", task_type=None)
    vision = {"model.vision_tower.encoder.layers.0.mlp.fc1": (8, 8)}
    adapter(root / "vision", modules=LLM | vision)
    adapter(root / "qwen", base_model_name_or_path="Qwen/Qwen2-VL-2B-Instruct")
    adapter(root / "next", base_model_name_or_path="llava-hf/llava-v1.6-mistral-7b-hf")
    adapter(root / "words", extras={"lm_head.weight": torch.ones(24, 16)})
    adapter(root / "norm", extras={"model.language_model.norm.weight": torch.ones(16)})
    lengths = {f"{name}.lora_magnitude_vector": torch.ones(shape[0]) for name, shape in LLM.items()}
    adapter(root / "dora", extras=lengths, use_dora=True)
    before = tree(root)

    def llava(source: str, base: str | None, *messages: str, out: str = "llava-lora-x") -> None:
        refused(
            lambda: export_adapter(root / source, root / out, format="original", base=base),
            *messages,
        )
        assert tree(root) == before

    llava("a", base, "does not contain 'llava' and 'lora'", "llava-lora-merged", out="merged")
    llava("a", base, "does not contain 'lora'", out="LLaVA-merged")
    llava("a", None, "no config.json of the original LLaVA code", "liuhaotian/llava-v1.5-7b")
    llava("a", str(converted), "not the config.json of an original LLaVA-1.5")
    llava("a", wrong_size, "down_proj is [16, 40] here and [32, 64] by config.json of the original")
    llava("vision", base, "LoRA on model.vision_tower.encoder.layers.0.mlp.fc1")
    llava("qwen", base, "an adapter of qwen2_vl", "LLaVA-1.5 alone")
    llava("next", base, "an adapter of llava_next")
    llava("words", base, "lm_head.weight [24, 16]", "whose vocabulary is 20")
    llava("dora", base, "DoRA, which the original code does not support", "--format full")
    llava("norm", base, "model.language_model.norm.weight [16] has no place")
    code, errors = command("export", root / "a", "--format", "original", "-o", root / "x")
    assert code == 1
    assert "does not contain 'llava' and 'lora'" in errors


def test_the_command_takes_every_format() -> None:
    assert get_args(FormatName) == tuple(EXPORTERS)
    assert len(FORMER) == len(get_args(LayoutName))


@pytest.mark.parametrize("exporter", FORMER, ids=lambda exporter: exporter.name)
def test_the_former_option_still_works(
    exporter: Exporter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = (
        original(tmp_path / "b")
        if exporter.name == "original"
        else str(converted_base(tmp_path / "b"))
    )
    adapter(tmp_path / "a")
    printed = []
    for option, value in (("--format", exporter.name), ("--layout", exporter.layout)):
        out = tmp_path / f"llava-lora{option}"
        arguments = ["export", str(tmp_path / "a"), option, value, "--base", model, "-o", str(out)]
        assert run([*arguments, "--json"]) == 0
        output = capsys.readouterr()
        printed.append(json.loads(output.out) | {"output_folder": ""})
        note = f"note: --layout {exporter.layout} is now called --format {exporter.name}\n"
        assert (note in output.err) == (option == "--layout")
    assert printed[0] == printed[1]
    assert printed[0]["layout"] == exporter.layout


def test_one_format_is_named(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    for options in ([], ["--format", "full", "--layout", "full"]):
        code, errors = command("export", folder, "-o", tmp_path / "out", *options)
        assert code == 1
        assert "--format original, --format full or --format gguf" in errors
