"""Moments of activations against plain hooks on the model, one adapter at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from factories.bases import adapt, text_batch, text_only
from factories.families import build, inputs
from factories.live_models import IDS, PLAIN, assert_kept, state, tiny
from robustmerge import MergeError
from robustmerge.adapter import layout
from robustmerge.collect.activations import drop_padding
from robustmerge.peft import collect as collect_any

collect = partial(collect_any, what=["gram"])

SETTINGS: dict[str, dict[str, Any]] = {
    "one": {"r": 3, "lora_alpha": 5},
    "two": {"r": 4, "target_modules": ["q_proj", "up_proj"]},
}


def plain(model: PeftModel, batches: list[Any], adapters: list[str]) -> dict[str, Tensor]:
    """What hooks on the base layers see, as the model is now: inputs as long matrices."""
    seen: dict[str, list[Tensor]] = {}
    handles = []
    for name, layer in model.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):

            def hook(module: nn.Module, arguments: Any, name: str = layout.canonical(name)) -> None:
                seen.setdefault(name, []).append(arguments[0].reshape(-1, arguments[0].shape[-1]))

            handles.append(layer.get_base_layer().register_forward_pre_hook(hook))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    for handle in handles:
        handle.remove()
    del adapters
    return {name: torch.cat(parts).double() for name, parts in seen.items()}


def rows(model: PeftModel, adapters: list[str]) -> dict[str, Tensor]:
    """All adapters' A of every layer, one below another."""
    return {
        layout.canonical(name): torch.cat(
            [layer.lora_A[a].weight.detach().double() for a in adapters if a in layer.lora_A]
        )
        for name, layer in model.get_base_model().named_modules()
        if isinstance(layer, LoraLayer)
    }


def check(model: PeftModel, batches: dict[str, list[Any]]) -> None:
    names = list(batches)
    result = collect(model, batches)
    assert [item.adapter for item in result] == names
    A = rows(model, names)
    for item in result:
        model.set_adapter(item.adapter)
        seen = plain(model, batches[item.adapter], names)
        assert {n.rpartition(".")[0] for n in item.tensors} == A.keys() >= seen.keys()
        for name, X in seen.items():
            Z = X @ A[name].T
            torch.testing.assert_close(item.tensors[f"{name}.gram"], Z.T @ Z, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(item.tensors[f"{name}.squares"], (X * X).sum(dim=0))
            assert item.tensors[f"{name}.count"].tolist() == [len(X)]
        assert item.samples == len(batches[item.adapter])
        assert item.tokens == sum(b["input_ids"].numel() for b in batches[item.adapter])


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_as_hooks_see_it_with_images(family: str) -> None:
    base = build(family)
    model = adapt(base, {"one": {"r": 3, "target_modules": "all-linear"}, "two": SETTINGS["two"]})
    image = inputs(family, base)
    check(model, {"one": [image, text_batch(1)], "two": [text_batch(2), image, text_batch(3)]})


def test_as_hooks_see_it_in_a_language_model() -> None:
    model = adapt(text_only(), SETTINGS)
    check(model, {"two": [text_batch(1)], "one": [text_batch(2), text_batch(3, 5)]})
    with_other = collect(model, {"one": [text_batch(1)]})[0].tensors
    assert len(with_other["model.language_model.layers.0.self_attn.q_proj.gram"]) == 3


def test_the_adapter_is_active_in_its_own_pass_only() -> None:
    model = adapt(text_only(), SETTINGS)
    name = "model.language_model.layers.1.self_attn.q_proj.squares"
    batches = {name: [text_batch(1)] for name in ("one", "two")}
    short_batch, long_batch = (g.tensors for g in collect(model, batches))
    assert not torch.equal(short_batch[name], long_batch[name])
    first = name.replace("layers.1", "layers.0")
    assert torch.equal(short_batch[first], long_batch[first])


def padded() -> dict[str, Tensor]:
    """Two samples, the second three tokens longer."""
    short_batch, long_batch = text_batch(1, 5)["input_ids"], text_batch(2, 8)["input_ids"]
    ids = torch.cat([nn.functional.pad(short_batch, (0, 3)), long_batch])
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("targets", [["q_proj", "lm_head"], ["embed_tokens", "down_proj"]])
def test_padding_does_not_count(targets: list[str]) -> None:
    model = adapt(text_only(), {"one": {"target_modules": targets}})
    (together,) = collect(model, {"one": [padded()]})
    (apart,) = collect(model, {"one": [text_batch(1, 5), text_batch(2, 8)]})
    assert together.tokens == apart.tokens == 13
    for name, tensor in apart.tensors.items():
        torch.testing.assert_close(together.tensors[name], tensor, rtol=1e-4, atol=1e-4)
        assert not name.endswith("count") or tensor.tolist() == [13]


@pytest.mark.parametrize("tokens", [(2, 3), (6,)])
def test_the_mask_is_of_text(tokens: tuple[int, ...]) -> None:
    X = torch.arange(18.0).reshape(*tokens, 3)
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]])
    kept = drop_padding(X, mask, "model.language_model.layers.0.mlp.up_proj")
    assert torch.equal(kept, X.reshape(6, 3)[[0, 2, 4, 5]])
    assert torch.equal(drop_padding(X[..., 0].long(), mask, "embed_tokens"), kept[:, 0].long())
    for name in ("model.vision_tower.encoder.layers.0.mlp.fc1", "model.multi_modal_projector.x"):
        assert len(drop_padding(X, mask, name)) == 6
    assert len(drop_padding(X, mask[:, :2], "lm_head")) == 6
    assert len(drop_padding(X, None, "lm_head")) == 6


def test_embeddings_count_words() -> None:
    model = tiny(PLAIN)
    ids = torch.tensor([[0, 1, 2, 3, 3]])
    (item,) = collect(model, {"three": [{"ids": ids}, {"ids": IDS[:, 3:6]}]})
    counts = torch.tensor([1.0, 1, 1, 3, 1, 1, 0, 0, 0, 0, 0], dtype=torch.float64)
    assert torch.equal(item.tensors["embed.squares"], counts)
    A = model.get_base_model().embed.lora_embedding_A["three"].detach().double()
    torch.testing.assert_close(item.tensors["embed.gram"], (A * counts) @ A.T)
    assert item.tensors["embed.count"].tolist() == [8]
    assert item.ranks == dict.fromkeys(item.ranks, 2)
    assert "up" not in item.ranks


def test_modules_that_no_sample_reaches() -> None:
    base = build("llava")
    model = adapt(base, {"one": {"r": 2, "target_modules": "all-linear"}})
    (item,) = collect(model, {"one": [text_batch(1)]})
    assert "model.multi_modal_projector.linear_1" in item.unseen
    assert not any("language_model" in name for name in item.unseen)
    (other,) = collect(model, {"one": [inputs("llava", base)]})
    # CLIP's last layer is not read here, but it is run.
    assert not other.unseen


@pytest.mark.parametrize("through", ["own", "merged"])
@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_left_as_it_was(
    through: Any, failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factories.statistics_methods import register

    register(monkeypatch)
    model = tiny({"one": {"target_modules": ["down"]}, "two": {"lora_dropout": 0.1}})
    model.base_model.set_adapter(["one", "two"])
    model.train()
    model.get_base_model().norm.train(False)
    model.get_base_model().norm.weight.requires_grad_(True)
    lower = model.get_base_model().model["layers"][0].down
    lower.set_adapter("two")
    lower.lora_A["two"].requires_grad_(False)
    before = state(model)
    batches: dict[str, list[Any]] = {"one": [{"ids": IDS}], "two": [{"ids": IDS}]}
    if failing:
        batches["two"].append({"nonsense": IDS})
        with pytest.raises(TypeError):
            collect(model, batches, through=through)
    else:
        collect(model, batches, through=through)
    after = state(model)
    assert_kept(before, after)
    assert before["held"] == after["held"]
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_disabled_adapters_are_enabled_while_collecting() -> None:
    model = adapt(text_only(), SETTINGS)
    (wanted,) = collect(model, {"one": [text_batch(1)]})
    with model.disable_adapter():
        (result,) = collect(model, {"one": [text_batch(1)]})
        assert all(m.disable_adapters for m in model.modules() if isinstance(m, LoraLayer))
    assert all(torch.equal(result.tensors[n], t) for n, t in wanted.tensors.items())


def test_what_is_refused() -> None:
    model = adapt(text_only(), SETTINGS)
    batch = text_batch(1)
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ({"three": [batch]}, {}, "unknown adapter 'three'"),
        ({"one": iter([batch])}, {}, "only once"),
        ({"one": []}, {}, "no batches for 'one'"),
        ({}, {}, "nothing to collect"),
        ({"one": [batch]}, {"what": ["fisher"], "through": "merged"}, "only gram"),
    ]
    for batches, options, messages in wrong:
        with pytest.raises(MergeError, match=messages):
            collect(model, batches, **options)
    model.merge_adapter(["one"])
    with pytest.raises(MergeError, match="merged into the base"):
        collect(model, {"one": [batch]})


def test_activations_that_are_not_finite() -> None:
    model = adapt(text_only(), SETTINGS)
    model.get_base_model().model.embed_tokens.weight.data[5] = torch.inf
    batch = text_batch(1)
    batch["input_ids"][0, 0] = 5
    with pytest.raises(MergeError, match="NaN or infinite"):
        collect(model, {"one": [batch]})


def test_each_adapter_has_its_own_projector() -> None:
    """Modules that were trained whole are those of the adapter under way."""
    settings = {"r": 2, "modules_to_save": ["multi_modal_projector"]}
    base = build("llava")
    model = adapt(base, {"one": settings, "two": settings})
    for name, parameter in model.named_parameters():
        if ".modules_to_save.two." in name:
            parameter.data += 1
    image = inputs("llava", base)
    check(model, {"one": [image], "two": [image]})
    first, second = collect(model, {"one": [image], "two": [image]})
    name = "model.language_model.layers.0.self_attn.q_proj.squares"
    assert not torch.allclose(first.tensors[name], second.tensors[name], rtol=0.01)
