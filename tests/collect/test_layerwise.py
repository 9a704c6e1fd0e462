"""Inputs through merged layers, against whole models that are merged densely for every layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factories.bases import adapt, text_batch, text_only
from factories.families import build, inputs
from factories.live_models import IDS, tiny
from factories.statistics_methods import by_activity, register
from robustmerge.adapter import layout
from robustmerge.collect.layerwise import ModuleGroup, blocks
from robustmerge.collect.model import adapted_layers, factors_of
from robustmerge.factors import Factors, Stack
from robustmerge.peft import collect


@pytest.fixture(autouse=True)
def regmean(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


def run_dense(make: Any, deltas: dict[str, Tensor], batches: list[Any]) -> dict[str, Tensor]:
    """The inputs of all layers of a base to whose weights these updates are added."""
    base, seen = make(), dict[str, list[Tensor]]()
    with torch.no_grad():
        for name, module in base.named_modules():
            known = layout.canonical(name)
            if known in deltas:
                module.weight += deltas[known].to(module.weight.dtype)

                def hook(layer: nn.Module, options: Any, known: str = known) -> None:
                    seen.setdefault(known, []).append(options[0].reshape(-1, options[0].shape[-1]))

                module.register_forward_pre_hook(hook)
        for batch in batches:
            base(**batch)
    return {name: torch.cat(parts).double() for name, parts in seen.items()}


def collect_densely(
    make: Any, stacks: dict[str, tuple[Factors, ...]], order: list[list[str]], data: list[list[Any]]
) -> list[dict[str, Tensor]]:
    """Every adapter's Gram matrices: one dense model per adapter and group of modules."""
    merged: dict[str, Tensor] = {}
    result: list[dict[str, Tensor]] = [{} for _ in data]
    for group in order:
        tables: dict[str, list[dict[str, Tensor]]] = {name: [] for name in group}
        for n, batches in enumerate(data):
            own = {name: stack[n].dense() for name, stack in stacks.items()}
            seen = run_dense(make, own | merged, batches)
            for name in group:
                X = seen[name]
                Z = X @ torch.cat([f.A for f in stacks[name]]).double().T
                count = torch.tensor([float(len(X))])
                table = {"gram": Z.T @ Z, "squares": X.square().sum(dim=0), "count": count}
                tables[name].append(table)
                result[n][name] = table["gram"]
        for name in group:
            ones = (1.0,) * len(data)
            stack = Stack(name, stacks[name], ones, ones, tuple(tables[name]))
            merged[name] = by_activity(stack).dense()
    return result


def assert_close(result: Any, wanted: list[dict[str, Tensor]]) -> None:
    for item, grams in zip(result, wanted, strict=True):
        for name, gram in grams.items():
            scale = float(gram.abs().max())
            torch.testing.assert_close(
                item.tensors[f"{name}.gram"], gram, rtol=1e-4, atol=1e-4 * scale, msg=name
            )


def test_a_language_model() -> None:
    """Four groups, by two adapters that do not have the same modules."""
    settings = {
        "one": {"r": 3, "lora_alpha": 5},
        "two": {"r": 4, "target_modules": ["q_proj", "up_proj", "lm_head"]},
    }
    model = adapt(text_only(), settings)
    batches = {"one": [text_batch(1)], "two": [text_batch(2), text_batch(3, 5)]}
    stacks = factors_of(adapted_layers(model, list(batches)), list(batches))
    order = [[n for n in stacks if f"layers.{k}." in n] for k in range(2)] + [["lm_head"]]
    assert sum(map(len, order)) == len(stacks)
    steps: list[tuple[int, int]] = []
    result = collect(
        model, batches, through="merged", progress=lambda done, of: steps.append((done, of))
    )
    assert steps == [(n, 9) for n in range(1, 10)]
    assert_close(result, collect_densely(text_only, stacks, order, list(batches.values())))
    own = collect(model, batches, what=["gram"])
    name = "model.language_model.layers.1.self_attn.q_proj.gram"
    assert not torch.allclose(result[0].tensors[name], own[0].tensors[name], rtol=0.01)
    assert (result[1].samples, result[1].tokens) == (2, 14)


def test_an_image_model_vision_first() -> None:
    base = build("llava")
    model = adapt(base, {"one": {"r": 2, "target_modules": "all-linear"}, "two": {"r": 3}})
    batches: dict[str, list[Any]] = {
        "one": [inputs("llava", base)],
        "two": [inputs("llava", base), text_batch(3)],
    }
    stacks = factors_of(adapted_layers(model, list(batches)), list(batches))
    marks = ["vision_tower.encoder.layers.0.", "vision_tower.encoder.layers.1."]
    marks += ["multi_modal_projector", "language_model.layers.0.", "language_model.layers.1."]
    order = [[name for name in stacks if mark in name] for mark in marks]
    assert sum(map(len, order)) == len(stacks)
    wanted = collect_densely(lambda: build("llava"), stacks, order, list(batches.values()))
    assert_close(collect(model, batches, through="merged"), wanted)


def test_embeddings_are_merged_too() -> None:
    """Against the model with the merged embedding's update in its weights."""
    model = tiny({"one": {"target_modules": ["embed", "down"]}, "two": {"r": 3}})
    batches = {"one": [{"ids": IDS}], "two": [{"ids": IDS[:, :5]}]}
    result = collect(model, batches, through="merged")
    stack = factors_of(adapted_layers(model, list(batches)), list(batches))["embed"]
    tables = tuple(
        {n: item.tensors[f"embed.{n}"] for n in ("gram", "squares", "count")} for item in result
    )
    merged = by_activity(Stack("embed", stack, (1.0, 1.0), (1.0, 1.0), tables)).dense()
    for n, item in enumerate(result):
        layer = model.get_base_model().embed
        with torch.no_grad():
            before = layer.base_layer.weight.clone()
            for held in ("one", "two"):
                layer.lora_embedding_B[held].zero_()
            layer.base_layer.weight += merged.T
            wanted = collect(model, batches, what=["gram"])[n]
            layer.base_layer.weight.copy_(before)
        key = "model.language_model.layers.0.up.squares"
        torch.testing.assert_close(item.tensors[key], wanted.tensors[key], rtol=1e-4, atol=1e-4)


def test_no_layer_above_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapt(text_only(), {"one": {"r": 2}})
    runs = {0: 0, 1: 0}
    for n, layer in enumerate(model.get_base_model().model.layers):
        layer.mlp.register_forward_hook(lambda *_, n=n: runs.update({n: runs[n] + 1}))
    collect(model, {"one": [text_batch(1)]}, through="merged")
    assert runs == {0: 2, 1: 1}


def test_blocks_by_name() -> None:
    names = [
        *("embed_tokens", "model.visual.blocks.3.attn.qkv", "model.visual.blocks.3.mlp.fc1"),
        *("model.visual.merger.mlp.0", "model.visual.merger.mlp.2", "transformer.h.0.attn.c_attn"),
        *("transformer.h.10.mlp.c_fc", "layers.1.up", "lm_head"),
    ]
    result = [(b.stem, b.number, len(b.modules)) for b in blocks(names)]
    assert result == [
        ("", None, 1),
        ("model.visual.blocks", 3, 2),
        ("model.visual.merger.mlp", None, 2),
        ("transformer.h", 0, 1),
        ("transformer.h", 10, 1),
        ("layers", 1, 1),
        ("", None, 1),
    ]


def test_where_a_block_ends() -> None:
    vision, later = (
        ModuleGroup("model.visual.blocks", n, (f"model.visual.blocks.{n}.x",)) for n in (0, 1)
    )
    merger = ModuleGroup("model.visual.merger", None, ("model.visual.merger.x",))
    text, above = (
        ModuleGroup("model.language_model.layers", n, (f"model.language_model.layers.{n}.x",))
        for n in (0, 1)
    )
    words = ModuleGroup("model.language_model", None, ("model.language_model.embed_tokens",))
    # A vision tower may be run again, for videos; embeddings come before it.
    assert not vision.ends_at(later)
    assert not vision.ends_at(words)
    assert vision.ends_at(text)
    assert merger.ends_at(text)
    assert text.ends_at(above)
    assert not above.ends_at(text)
    assert not words.ends_at(text)
