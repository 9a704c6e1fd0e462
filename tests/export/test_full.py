"""Baked into the base: the same numbers as PEFT's, and nothing else touched."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories.adapters import LLM, adapter, deltas
from factories.checkpoints import base, weights
from robustmerge.adapter import base as base_reader
from robustmerge.export import companions, export_adapter

CLOSE = {"rtol": 1e-6, "atol": 1e-5}
INDEX = "model.safetensors.index.json"


def full(
    root: Path, *, settings: dict[str, Any] | None = None, **of_base: Any
) -> dict[str, Tensor]:
    """Export the adapter in `root` and read the result."""
    model = base(root / "base", of_base.pop("tensors", None), **of_base)
    export_adapter(root / "a", root / "out", format="full", base=str(model), **(settings or {}))
    return read(root / "out")


def read(folder: Path) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for file in folder.glob("*.safetensors"):
        result |= load_file(file)
    return result


@pytest.mark.parametrize("cuts", [(), (3, 8)])
def test_every_module_gets_its_delta_and_nothing_else_changes(
    cuts: tuple[int, ...], tmp_path: Path
) -> None:
    adapter(tmp_path / "a")
    got, before = full(tmp_path, cuts=cuts), weights()
    changes = deltas(tmp_path / "a")
    assert got.keys() == before.keys()
    for name, tensor in before.items():
        module = name.removesuffix(".weight")
        if module in changes:
            want = tensor.double() + changes[module]
            torch.testing.assert_close(got[name].double(), want, **CLOSE)
            assert (got[name] - tensor).abs().max() > 0.1
        else:
            assert torch.equal(got[name], tensor), name
            assert got[name].dtype == tensor.dtype


@pytest.mark.parametrize("cuts", [(), (3, 8)])
def test_files_headers_and_index_stay(cuts: tuple[int, ...], tmp_path: Path) -> None:
    adapter(tmp_path / "a")
    full(tmp_path, cuts=cuts)
    first, second = tmp_path / "base", tmp_path / "out"
    left = {"README.md", "adapter_config.json", "pytorch_model.bin.index.json", ".gitattributes"}
    names = {path.name for path in first.iterdir()} - left
    assert {path.name for path in second.iterdir()} == names | {"export.json"}
    for name in names:
        old, new = (first / name).read_bytes(), (second / name).read_bytes()
        if not name.endswith(".safetensors"):
            assert old == new, name
            continue
        end = 8 + int.from_bytes(old[:8], "little")
        assert old[:end] == new[:end]
        assert len(old) == len(new)
        with safe_open(second / name, "pt") as file:
            assert file.metadata() == {"format": "pt", "by": "us"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_sum_is_rounded_once(dtype: torch.dtype, tmp_path: Path) -> None:
    adapter(tmp_path / "a", alpha=3, dtype=torch.float16)
    got, before, changes = (
        full(tmp_path, tensors=weights(dtype)),
        weights(dtype),
        deltas(tmp_path / "a"),
    )
    apart = total = 0
    for module, delta in changes.items():
        result, start = got[f"{module}.weight"], before[f"{module}.weight"]
        want = (start.double() + delta).to(dtype)
        assert result.dtype == dtype
        apart += int((result != want).sum())  # float32 sums next to the middle of two values
        total += result.numel()
        # What rounding the delta first would give is another thing.
        assert (start + delta.to(dtype) != want).float().mean() > 0.02
    assert apart <= total // 500


def test_names_of_other_layouts_meet(tmp_path: Path) -> None:
    """An adapter of the original code on a base in the names of before 4.52."""
    flat = {name.replace("model.language_model.", "model."): s for name, s in LLM.items()}
    adapter(tmp_path / "a", modules=flat, binary=True)
    projector = {"base_model.model.model.mm_projector.0.bias": torch.arange(6.0)}
    torch.save(projector, tmp_path / "a" / "non_lora_trainables.bin")
    got = full(tmp_path, layout="hf-old")
    adapter(tmp_path / "b", modules=flat)
    name = "model.layers.1.mlp.down_proj"
    want = (
        weights()["model.language_model.layers.1.mlp.down_proj.weight"]
        + deltas(tmp_path / "b")[name]
    )
    torch.testing.assert_close(got[f"language_model.{name}.weight"].double(), want, **CLOSE)
    assert torch.equal(got["multi_modal_projector.linear_1.bias"], torch.arange(6.0))
    assert "language_model.lm_head.weight" in got


def test_trained_parameters_take_the_place_of_the_base_s(tmp_path: Path) -> None:
    name = "model.multi_modal_projector.linear_1.weight"
    trained = torch.randn(6, 6, dtype=torch.float64).float()
    adapter(tmp_path / "a", extras={name: trained}, modules_to_save=["multi_modal_projector"])
    got = full(tmp_path, tensors=weights(torch.bfloat16))
    assert torch.equal(got[name], trained.bfloat16())


def test_parameters_beside_the_adapter_count_too(tmp_path: Path) -> None:
    name = "model.multi_modal_projector.linear_2.bias"
    adapter(tmp_path / "a")
    save_file({name: torch.arange(6.0)}, tmp_path / "a" / "non_lora.safetensors")
    assert torch.equal(full(tmp_path)[name], torch.arange(6.0))


def test_every_module_has_its_own_scaling(tmp_path: Path) -> None:
    odd = "model.language_model.layers.1.self_attn.q_proj"
    adapter(
        tmp_path / "a",
        ranks={odd: 2},
        use_rslora=True,
        rank_pattern={odd: 2},
        alpha_pattern={odd: 5},
    )
    got, raw = full(tmp_path), load_file(tmp_path / "a" / "adapter_model.safetensors")
    for module in LLM:
        alpha, rank = (5, 2) if module == odd else (8, 4)
        A, B = (raw[f"base_model.model.{module}.lora_{x}.weight"].double() for x in "AB")
        want = weights()[f"{module}.weight"] + alpha / rank**0.5 * (B @ A)
        torch.testing.assert_close(got[f"{module}.weight"].double(), want, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_float64_stays_float64(dtype: torch.dtype, tmp_path: Path) -> None:
    adapter(tmp_path / "a", dtype=dtype)
    got, changes = full(tmp_path, tensors=weights(torch.float64)), deltas(tmp_path / "a")
    for module, delta in changes.items():
        want = weights(torch.float64)[f"{module}.weight"] + delta
        torch.testing.assert_close(got[f"{module}.weight"], want, rtol=1e-14, atol=1e-14)


def test_the_order_of_a_header_is_not_that_of_its_tensors(tmp_path: Path) -> None:
    adapter(tmp_path / "a")
    path = base(tmp_path / "base") / "model.safetensors"
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    text = json.dumps(dict(reversed(header.items()))).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
    export_adapter(tmp_path / "a", tmp_path / "out", format="full", base=str(path.parent))
    got, before = read(tmp_path / "out"), weights()
    for module, delta in deltas(tmp_path / "a").items():
        want = before[f"{module}.weight"].double() + delta
        torch.testing.assert_close(got[f"{module}.weight"].double(), want, **CLOSE)


def test_attention_of_torch_s_own_kind(tmp_path: Path) -> None:
    """PEFT names its two weights by the module and by a layer inside of its wrapping."""
    head = "model.vision_tower.head.attention"
    names = {head: (24, 8), f"{head}.base_layer.out_proj": (8, 8)}
    adapter(tmp_path / "a", modules=LLM | names)
    own = {f"{head}.in_proj_weight": torch.ones(24, 8), f"{head}.out_proj.weight": torch.ones(8, 8)}
    got, changes = full(tmp_path, tensors=weights() | own), deltas(tmp_path / "a")
    for name, module in zip(own, names, strict=True):
        torch.testing.assert_close(got[name].double(), own[name] + changes[module], **CLOSE)


EMBEDDINGS = "model.language_model.embed_tokens"


def embedding_lora(folder: Path, **settings: Any) -> Tensor:
    """An adapter with LoRA on the embeddings too; returns its delta [vocabulary hidden]."""
    adapter(folder, **settings)
    path = folder / "adapter_model.safetensors"
    g = torch.Generator().manual_seed(3)
    A, B = torch.randn(4, 20, generator=g), torch.randn(16, 4, generator=g)
    more = {f"base_model.model.{EMBEDDINGS}.lora_embedding_{x}": t for x, t in (("A", A), ("B", B))}
    save_file(load_file(path) | more, path)
    return 2 * (B @ A).T


def test_embeddings_are_changed_by_rows(tmp_path: Path) -> None:
    delta = embedding_lora(tmp_path / "a")
    got, name = full(tmp_path), f"{EMBEDDINGS}.weight"
    torch.testing.assert_close(got[name], weights()[name] + delta)
    assert torch.equal(got["lm_head.weight"], weights()["lm_head.weight"])


@pytest.mark.parametrize("cuts", [(), (3,)])
def test_a_tied_head_does_not_follow_the_embeddings_lora(
    cuts: tuple[int, ...], tmp_path: Path
) -> None:
    delta = embedding_lora(tmp_path / "a")
    settings = {"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": True}}
    got = full(tmp_path, tensors=weights(head=False), cuts=cuts, **settings)
    start = weights(head=False)[f"{EMBEDDINGS}.weight"]
    torch.testing.assert_close(got[f"{EMBEDDINGS}.weight"], start + delta)
    assert torch.equal(got["lm_head.weight"], start)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert config["text_config"]["tie_word_embeddings"] is False
    if cuts:
        index = json.loads((tmp_path / "out" / INDEX).read_text())
        assert index["weight_map"].keys() == got.keys()
        assert index["metadata"]["total_size"] == sum(t.nbytes for t in got.values())
        for name, file in index["weight_map"].items():
            assert name in load_file(tmp_path / "out" / file)


def test_a_tied_head_with_lora_leaves_the_embeddings(tmp_path: Path) -> None:
    adapter(tmp_path / "a", modules={**LLM, "lm_head": (20, 16)})
    got = full(tmp_path, tensors=weights(head=False), layout="hf-old")
    start = weights(head=False)[f"{EMBEDDINGS}.weight"]
    assert torch.equal(got["language_model.model.embed_tokens.weight"], start)
    want = start + deltas(tmp_path / "a")["lm_head"]
    torch.testing.assert_close(got["language_model.lm_head.weight"].double(), want, **CLOSE)


def test_a_tied_head_that_is_stored_too_is_untied(tmp_path: Path) -> None:
    """Or a loader would tie it again, and drop what was added to it."""
    adapter(tmp_path / "a", modules={**LLM, "lm_head": (20, 16)})
    got = full(tmp_path, tie_word_embeddings=True)
    want = weights()["lm_head.weight"] + deltas(tmp_path / "a")["lm_head"]
    torch.testing.assert_close(got["lm_head.weight"].double(), want, **CLOSE)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False


def test_tied_embeddings_that_nothing_touches_stay_tied(tmp_path: Path) -> None:
    adapter(tmp_path / "a")
    got = full(tmp_path, tensors=weights(head=False), tie_word_embeddings=True)
    assert "lm_head.weight" not in got
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"]


@pytest.mark.parametrize("kind", ["embedded", "full"])
def test_a_base_on_the_hub_comes_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, cache = base(tmp_path / "hub", cuts=(3, 8)), tmp_path / "cache"
    cache.mkdir()
    requests: list[str] = []

    def snapshot(source: str, repo: str, revision: str | None, wanted: list[str]) -> str:
        assert (source, repo, revision) == ("owner/model", "owner/model", None)
        requests.extend(wanted)
        for path in hub.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in wanted):
                shutil.copyfile(path, cache / path.name)
        return str(cache)

    monkeypatch.setattr(base_reader, "snapshot", snapshot)
    monkeypatch.setattr(companions, "snapshot", snapshot)
    adapter(tmp_path / "a", base_model_name_or_path="owner/model")
    export_adapter(tmp_path / "a", tmp_path / "out", format=kind)
    left = {"README.md", "pytorch_model.bin.index.json", ".gitattributes", "adapter_config.json"}
    assert {p.name for p in hub.iterdir()} - left <= {p.name for p in (tmp_path / "out").iterdir()}
    assert not any(fnmatch("pytorch_model-00001-of-00002.bin", pattern) for pattern in requests)
