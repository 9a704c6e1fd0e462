"""What is trained of every family, and nothing else."""

from __future__ import annotations

import re

import pytest
import torch
from peft import PeftModel
from torch import nn

from factories.families import FAMILIES, build
from robustmerge.errors import MergeError
from robustmerge_bench.paper.training.expert import lora_modules, with_lora
from robustmerge_bench.paper.training.families import (
    check_lora_layers,
    language_layers,
    projector_modules,
)
from robustmerge_bench.paper.training.recipe import TrainingRecipe

LANGUAGE = re.compile(
    r"model\.(language_model|text_model)\.layers\.[01]\."
    r"((self|cross)_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
)
PROJECTORS = {
    "llava": ["model.multi_modal_projector."],
    "llava_next": ["model.multi_modal_projector."],
    "llava_onevision": ["model.multi_modal_projector."],
    "internvl": ["model.multi_modal_projector."],
    "qwen2_vl": ["model.visual.merger."],
    "qwen2_5_vl": ["model.visual.merger."],
    "qwen3_vl": ["model.visual.merger.", "model.visual.deepstack_merger_list."],
    "idefics3": ["model.connector."],
    "smolvlm": ["model.connector."],
    "gemma3": ["model.multi_modal_projector."],
    "paligemma": ["model.multi_modal_projector."],
    "mistral3": ["model.multi_modal_projector."],
    "mllama": ["model.multi_modal_projector."],
}


def expert_of(family: str, dtype: torch.dtype = torch.float32, **settings: object) -> PeftModel:
    return with_lora(build(family).to(dtype), TrainingRecipe(rank=4, **settings), "toy")  # type: ignore[arg-type]


def fully_trained(expert: PeftModel) -> set[str]:
    """Parameters without a LoRA that are trained, as the base names them."""
    return {
        name.removeprefix("base_model.model.").replace("modules_to_save.default.", "")
        for name, weight in expert.named_parameters()
        if weight.requires_grad and "lora_" not in name
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_on_the_language_model_and_the_projector_whole(family: str) -> None:
    names = [name for name, _ in build(family).named_parameters()]
    expert = expert_of(family)
    positions = lora_modules(expert)
    assert len(positions) == 14
    assert all(LANGUAGE.fullmatch(name) for name in positions)
    wanted = {name for name in names if name.startswith(tuple(PROJECTORS[family]))}
    assert wanted
    assert fully_trained(expert) == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_projector_is_not_in_the_adapter(family: str) -> None:
    expert = expert_of(family, projector="frozen")
    assert not fully_trained(expert)
    assert expert.peft_config["default"].modules_to_save is None


@pytest.mark.parametrize("family", ["llava", "qwen3_vl", "smolvlm"])
def test_what_is_trained_is_float32_whatever_the_base_is(family: str) -> None:
    base = {name: weight.clone() for name, weight in build(family).bfloat16().named_parameters()}
    expert = expert_of(family, torch.bfloat16)
    for name, weight in expert.named_parameters():
        assert weight.dtype == (torch.float32 if weight.requires_grad else torch.bfloat16), name
        short = name.removeprefix("base_model.model.").replace("modules_to_save.default.", "")
        if short in base:
            assert torch.equal(weight.bfloat16(), base[short])


def test_settings_are_those_of_the_recipe() -> None:
    settings = expert_of("llava", dropout=0.1).peft_config["default"]
    assert (settings.r, settings.lora_alpha, settings.lora_dropout) == (4, 8, 0.1)
    leaves = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert set(settings.target_modules) == leaves
    assert (settings.bias, settings.use_dora, settings.use_rslora) == ("none", False, False)


def test_an_unknown_family_has_no_known_projector() -> None:
    model = build("llava")
    model.config.model_type = "strange"
    with pytest.raises(
        MergeError, match="the projector of a model of family 'strange' is unknown"
    ) as caught:
        with_lora(model, TrainingRecipe(), "toy")
    assert "--projector frozen" in caught.value.hint
    assert lora_modules(with_lora(model, TrainingRecipe(projector="frozen"), "toy"))


def test_a_model_without_its_projector_is_refused() -> None:
    with pytest.raises(MergeError, match="without multi_modal_projector"):
        projector_modules(nn.Module(), "llava")


def test_a_model_without_a_language_model_is_refused() -> None:
    with pytest.raises(MergeError, match="no linear layers of a language model in a Linear"):
        language_layers(nn.Linear(2, 2))


def test_a_lora_elsewhere_is_noticed() -> None:
    check_lora_layers(["a", "b"], ["b", "a"])
    with pytest.raises(MergeError, match="on 2 layers, which should be on 2") as caught:
        check_lora_layers(["a", "b"], ["b", "c"])
    assert caught.value.where.splitlines() == ["without: a", "too many: c"]
