"""The file for llama.cpp, read by the package that its converters are written with."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from derive.test_experts import qwen, trained
from factories.adapters import adapter
from faults.refuse import command, refused, tree
from robustmerge.export import ExportReport, export_adapter
from robustmerge.export.architectures import ARCHITECTURES

gguf = pytest.importorskip("gguf")

LLAMA: Mapping[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
SHAPES = {
    "self_attn.q_proj": (32, 16),
    "self_attn.k_proj": (16, 16),
    "self_attn.v_proj": (16, 16),
    "self_attn.o_proj": (16, 32),
    "mlp.gate_proj": (40, 16),
    "mlp.up_proj": (40, 16),
    "mlp.down_proj": (16, 40),
}
NAMES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
MODULES = {f"model.layers.{n}.{leaf}": shape for n in range(2) for leaf, shape in SHAPES.items()}
VISION = {"model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj": (8, 8)}


def base(folder: Path, **settings: Any) -> str:
    """A base, of which the settings alone are read."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA, **settings}))
    return str(folder)


def export(root: Path, *, leave_out: tuple[str, ...] = (), **settings: Any) -> ExportReport:
    named = str(root / "base") if (root / "base").exists() else base(root / "base", **settings)
    return export_adapter(
        root / "a", root / "out.gguf", format="gguf", base=named, leave_out=leave_out
    )


def fields(file: Path) -> dict[str, Any]:
    return {key: value.contents() for key, value in gguf.GGUFReader(file).fields.items()}


def tensors(file: Path) -> dict[str, Tensor]:
    reader = gguf.GGUFReader(file)
    return {t.name: torch.from_numpy(t.data.copy()) for t in reader.tensors}


def updates(file: Path) -> dict[str, Tensor]:
    """What llama.cpp adds to every weight: alpha / rank · B A."""
    alpha, stored, result = fields(file)["adapter.lora.alpha"], tensors(file), {}
    for name in {n.rpartition(".")[0] for n in stored}:
        A, B = stored[f"{name}.lora_a"].double(), stored[f"{name}.lora_b"].double()
        result[name.removesuffix(".weight")] = alpha / B.shape[-1] * (B @ A)
    return result


def products(folder: Path) -> dict[str, Tensor]:
    """B A of every module, by its name in the file, without its scaling."""
    stored = load_file(folder / "adapter_model.safetensors")
    return {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): stored[
            name.replace("lora_A", "lora_B")
        ].double()
        @ A.double()
        for name, A in stored.items()
        if name.endswith(".lora_A.weight")
    }


def interleaved(delta: Tensor, heads: int) -> Tensor:
    """Rows in llama.cpp's order: behind every row of a head, that half a head further on."""
    size = len(delta) // heads
    rows = [
        head * size + half * size // 2 + row
        for head in range(heads)
        for row in range(size // 2)
        for half in (0, 1)
    ]
    return delta[rows]


def test_every_update_is_under_llama_cpps_name(tmp_path: Path) -> None:
    adapter(tmp_path / "a", modules=MODULES)
    report = export(tmp_path)
    assert report.modules == 14
    result, wanted = updates(tmp_path / "out.gguf"), products(tmp_path / "a")
    assert result.keys() == {f"blk.{n}.{name}" for n in range(2) for name in NAMES}
    for n in range(2):
        for leaf, name in zip(SHAPES, NAMES, strict=True):
            want = 2 * wanted[f"model.layers.{n}.{leaf}"]  # alpha 8, rank 4
            heads = {"attn_q": 4, "attn_k": 2}.get(name)
            want = interleaved(want, heads) if heads else want
            torch.testing.assert_close(result[f"blk.{n}.{name}"], want, rtol=1e-6, atol=1e-6)
    known = fields(tmp_path / "out.gguf")
    assert known["general.architecture"] == "llama"
    assert (known["general.type"], known["adapter.type"]) == ("adapter", "lora")


@pytest.mark.parametrize("kind", ["qwen2", "gemma2"])
def test_other_architectures_keep_their_rows(kind: str, tmp_path: Path) -> None:
    adapter(tmp_path / "a", modules=MODULES)
    export(tmp_path, model_type=kind)
    want = 2 * products(tmp_path / "a")["model.layers.1.self_attn.q_proj"]
    got = updates(tmp_path / "out.gguf")["blk.1.attn_q"]
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    assert fields(tmp_path / "out.gguf")["general.architecture"] == kind


SCALINGS: Mapping[str, tuple[dict[str, Any], float, float]] = {
    "of ranks": ({"rank_pattern": {"down_proj": 2}}, 4.0, 2.0),
    "of alphas": ({"alpha_pattern": {"down_proj": 5}}, 1.25, 2.0),
    "rsLoRA": ({"use_rslora": True}, 4.0, 4.0),
    "zero": ({"alpha": 0}, 0.0, 0.0),
}
"""Settings, and the scalings of down_proj and of all others."""


@pytest.mark.parametrize("case", SCALINGS)
def test_other_scalings(case: str, tmp_path: Path) -> None:
    settings, down, others = SCALINGS[case]
    downs = [name for name in MODULES if name.endswith("down_proj")]
    ranks = dict.fromkeys(downs, 2) if case == "of ranks" else None
    adapter(tmp_path / "a", modules=MODULES, ranks=ranks, **settings)
    export(tmp_path)
    result, wanted = updates(tmp_path / "out.gguf"), products(tmp_path / "a")
    for name, leaf, scaling in (("down", "down_proj", down), ("up", "up_proj", others)):
        want = scaling * wanted[f"model.layers.0.mlp.{leaf}"]
        torch.testing.assert_close(result[f"blk.0.ffn_{name}"], want, rtol=1e-6, atol=1e-6)


def test_experts_are_one_weight(tmp_path: Path) -> None:
    names = {n: f"model.layers.0.mlp.experts.{n}.gate_proj" for n in (0, 2)}
    ranks = {names[2]: 2}
    modules = dict.fromkeys(names.values(), (24, 16))
    adapter(tmp_path / "a", modules=modules, ranks=ranks, rank_pattern={names[2]: 2})
    export(tmp_path, model_type="qwen3_moe", num_experts=3)
    got, want = updates(tmp_path / "out.gguf")["blk.0.ffn_gate_exps"], products(tmp_path / "a")
    assert got.shape == (3, 24, 16)
    assert not got[1].any()
    for n in (0, 2):
        name = f"model.layers.0.mlp.experts.{n}.gate_proj"
        scaling = 8 / ranks.get(name, 4)
        torch.testing.assert_close(got[n], scaling * want[name], rtol=1e-6, atol=1e-6)


def test_an_embedding_and_a_head_of_their_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    A, B = torch.randn(4, 20), torch.randn(16, 4)
    name = "model.embed_tokens.lora_embedding_"
    extras = {f"{name}A": A, f"{name}B": B}
    adapter(tmp_path / "a", modules={"lm_head": (20, 16)}, extras=extras)
    export(tmp_path)
    stored = tensors(tmp_path / "out.gguf")
    assert torch.equal(stored["token_embd.weight.lora_a"], A.T)
    assert torch.equal(stored["token_embd.weight.lora_b"], B)
    want = products(tmp_path / "a")["lm_head"]
    got = stored["output.weight.lora_b"].double() @ stored["output.weight.lora_a"].double()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


def test_vision_is_lost_only_if_the_user_says_so(tmp_path: Path) -> None:
    projector = {"model.multi_modal_projector.linear_1.weight": torch.ones(3, 3)}
    adapter(
        tmp_path / "a",
        modules={**MODULES, **VISION},
        extras=projector,
        modules_to_save=["multi_modal_projector"],
    )
    before = tree(tmp_path / "a")
    patterns = ("*vision_tower*", "*multi_modal_projector*")
    error = refused(
        lambda: export(tmp_path),
        "2 modules and parameters are outside the language model",
        *(f"--leave-out '{pattern}'" for pattern in patterns),
    )
    assert "mmproj" in error.problem
    report = export(tmp_path, leave_out=patterns)
    assert len(updates(tmp_path / "out.gguf")) == report.modules == 14
    (said,) = report.left_out
    assert "1 modules with" in said
    assert "1 fully trained parameters" in said
    assert tree(tmp_path / "a") == before


def test_fused_experts_are_taken_apart_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = trained(qwen, tmp_path / "a", 1)
    qwen().save_pretrained(tmp_path / "base")
    tail = ("--format", "gguf", "--base", "base")
    code, errors = command("export", "a", "-o", "out.gguf", *tail)
    assert code == 1
    assert "robustmerge convert A -o B --layout projections" in errors
    assert command("convert", "a", "-o", "b", "--layout", "projections", "--base", "base")[0] == 0
    assert command("export", "b", "-o", "out.gguf", *tail)[0] == 0
    result, block = updates(tmp_path / "out.gguf"), "model.layers.1"
    kinds = {name.split(".")[2] for name in result}
    assert kinds == {"attn_q", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}
    gate, up = changes[f"{block}.mlp.experts.gate_up_proj"].double().chunk(2, 1)
    down = changes[f"{block}.mlp.experts.down_proj"].double()
    for name, want in (("gate", gate), ("up", up), ("down", down)):
        got = result[f"blk.1.ffn_{name}_exps"]
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


REFUSED: Mapping[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "norms": (
        {
            "extras": {"model.norm.weight": torch.ones(16)},
            "modules_to_save": ["norm"],
        },
        {},
        "1 fully trained parameters",
    ),
    "tied": ({"modules": {"lm_head": (20, 16)}}, {"tie_word_embeddings": True}, "ties"),
    "DoRA": ({"use_dora": True}, {}, "DoRA"),
    "an unknown model": ({}, {"model_type": "mamba"}, "the model type 'mamba'"),
    "a model that is not converted": (
        {},
        {"model_type": "paligemma", "text_config": {**LLAMA, "model_type": "gemma"}},
        "llama.cpp converts no model of type 'paligemma'",
    ),
    "another model": ({}, {"num_hidden_layers": 1}, "as llama of 1 blocks"),
    "other heads": ({}, {"num_attention_heads": 5}, "32 rows are not 5 heads"),
    "no experts": (
        {"modules": {"model.layers.0.mlp.experts.7.up_proj": (4, 4)}},
        {"model_type": "qwen3_moe", "num_experts": 4},
        "its blocks have 4 experts",
    ),
    "no heads": ({}, {"num_attention_heads": None}, "no usable number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_llama_cpp_does_not_have_is_refused(case: str, tmp_path: Path) -> None:
    made, settings, message = REFUSED[case]
    adapter(tmp_path / "a", **{"modules": MODULES, **made})
    base(tmp_path / "base", **settings)
    before = tree(tmp_path)
    refused(lambda: export(tmp_path), message)
    assert tree(tmp_path) == before


def test_no_file_of_others_is_replaced(tmp_path: Path) -> None:
    adapter(tmp_path / "a", modules=MODULES)
    output, named = tmp_path / "out.gguf", base(tmp_path / "base")
    arguments = ("export", tmp_path / "a", "-o", output, "--format", "gguf", "--base", named)
    output.write_bytes(b"GGUF of another program")
    for flags in ((), ("--force",)):
        code, errors = command(*arguments, *flags)
        assert code == 1
        assert "was not written by this program" in errors
    assert output.read_bytes() == b"GGUF of another program"
    output.unlink()
    assert command(*arguments)[0] == 0
    code, errors = command(*arguments)
    assert code == 1
    assert "--force" in errors
    assert command(*arguments, "--force")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "base", "out.gguf"]


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    adapter(tmp_path / "a", modules=MODULES)
    named = base(tmp_path / "base")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_adapter(
            tmp_path / "a", tmp_path / "new" / "out.gguf", format="gguf", base=named, progress=stop
        )
    assert not list(tmp_path.rglob("*.gguf*"))


def test_options_of_other_formats(tmp_path: Path) -> None:
    adapter(tmp_path / "a", modules=MODULES)
    named = base(tmp_path / "base")
    given: dict[str, Any] = {"base": named}
    refused(
        lambda: export_adapter(tmp_path / "a", tmp_path / "out", format="gguf", **given),
        "'out' does not end in .gguf",
    )
    refused(
        lambda: export_adapter(
            tmp_path / "a", tmp_path / "out", format="full", leave_out=["*"], **given
        ),
        "nothing is left out in the format full",
    )


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter(tmp_path / "a", modules=MODULES)
    monkeypatch.setitem(sys.modules, "gguf", None)
    refused(lambda: export(tmp_path), "pip install 'robustmerge[gguf]'")


def test_the_package_knows_every_architecture() -> None:
    names = set(gguf.MODEL_ARCH_NAMES.values())
    assert {architecture.name for architecture in ARCHITECTURES.values()} <= names
