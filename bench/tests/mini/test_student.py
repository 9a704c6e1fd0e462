"""The fast way of answering is the slow way of answering."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoProcessor, LlavaForConditionalGeneration

from robustmerge.errors import MergeError
from robustmerge_bench.item import Item
from robustmerge_bench.mini.greedy import cache_argument
from robustmerge_bench.mini.student import LONGEST, MiniModel
from robustmerge_bench.mini.tasks import TASKS
from robustmerge_bench.mini.training.dialog import answer_scores, collate, look
from robustmerge_bench.mini.training.experts import LANGUAGE_MODEL
from robustmerge_bench.mini.training.model import pixels


def by_generate(model: torch.nn.Module, base: Path, item: Item) -> str:
    """An answer by plain transformers."""
    processor = AutoProcessor.from_pretrained(base)
    content = [{"type": "image"}, {"type": "text", "text": item.prompt}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = processor(images=item.image, text=text, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
    printed = out[:, inputs["input_ids"].shape[1] :]
    return str(processor.batch_decode(printed, skip_special_tokens=True)[0])


@pytest.fixture(scope="module")
def adapter(random_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random adapter with a projector of its own."""
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration.from_pretrained(random_base)
    settings = LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules=LANGUAGE_MODEL,
        modules_to_save=["multi_modal_projector"],
        init_lora_weights=False,
    )
    active = get_peft_model(model, settings)
    for name, weight in active.named_parameters():
        if "modules_to_save" in name:
            weight.data += 0.1 * torch.randn_like(weight)
    folder = tmp_path_factory.mktemp("adapter")
    active.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("active", [False, True], ids=["base", "adapter"])
def test_answers_are_those_of_generate(random_base: Path, adapter: Path, active: bool) -> None:
    items = [item for task in TASKS.values() for item in task.items("test", 2)]
    mini = MiniModel.load(random_base, dtype=torch.float32)
    model = LlavaForConditionalGeneration.from_pretrained(random_base)
    if active:
        model = PeftModel.from_pretrained(model, adapter)
    with mini.using(adapter if active else None):
        answers = mini.answer(items)
    assert answers == [by_generate(model, random_base, item) for item in items]
    assert len(set(answers)) > 3


def test_an_adapter_is_taken_off_without_a_trace(random_base: Path, adapter: Path) -> None:
    mini = MiniModel.load(random_base, dtype=torch.float32)
    before = {name: w.clone() for name, w in mini.model.named_parameters()}
    with mini.using(adapter):
        changed = [n for n, w in mini.model.named_parameters() if not torch.equal(w, before[n])]
    with pytest.raises(KeyError), mini.using(adapter):
        raise KeyError
    assert any("q_proj" in name for name in changed)
    assert any("multi_modal_projector" in name for name in changed)
    assert not any("vision" in name for name in changed)
    assert all(torch.equal(w, before[n]) for n, w in mini.model.named_parameters())


def test_the_scale_is_of_the_update_alone(random_base: Path, adapter: Path) -> None:
    mini = MiniModel.load(random_base, dtype=torch.float32)
    weights = dict(mini.model.named_parameters())
    name = "model.language_model.layers.1.mlp.down_proj.weight"
    projector = "model.multi_modal_projector.linear_1.weight"
    base, plain = weights[name].clone(), weights[projector].clone()
    changes, projectors = [], []
    for scale in (1.0, 0.5, 0.0):
        with mini.using(adapter, scale):
            changes.append(weights[name] - base)
            projectors.append(weights[projector].clone())
    assert torch.allclose(changes[1], changes[0] / 2, atol=1e-6)
    assert not changes[2].any()
    assert all(torch.equal(p, projectors[0]) for p in projectors)
    assert not torch.equal(projectors[0], plain)


def test_half_precision_answers_with_the_sum_rounded_once(random_base: Path, adapter: Path) -> None:
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    minis = [MiniModel.load(random_base, dtype=d) for d in (torch.float32, torch.bfloat16)]
    for scale in (1.0, 1e-3):
        with minis[0].using(adapter, scale), minis[1].using(adapter, scale):
            exact, rounded = (dict(m.model.named_parameters())[name] for m in minis)
            assert rounded.dtype == torch.bfloat16
            assert torch.equal(exact.bfloat16(), rounded)


def test_an_adapter_of_another_model_is_refused(random_base: Path, adapter: Path) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(random_base)
    del model.model.language_model.layers[1]
    mini = MiniModel(model)
    with pytest.raises(MergeError, match="missing in the model"), mini.using(adapter):
        pass


def test_turns_of_one_picture_do_not_see_each_other(model: LlavaForConditionalGeneration) -> None:
    (item,) = TASKS["sqa"].items("train", 1)
    turns = [("what is this ?", "cat"), (item.prompt, item.answer), ("read line 1 .", "a b c")]
    features = look(model, pixels([item.image]))
    with torch.no_grad():
        together, _ = answer_scores(model, collate([turns], 110), features)
        alone = [answer_scores(model, collate([[turn]], 70), features)[0] for turn in turns]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_what_is_to_be_said_stands_one_place_before(model: LlavaForConditionalGeneration) -> None:
    batch = collate([[("is it a cat ?", "yes")]], 50)
    printed = [
        (batch.tokens[0, p + 1].item(), label.item())
        for p, label in enumerate(batch.labels[0])
        if label >= 0
    ]
    assert [token for token, _ in printed] == [label for _, label in printed]
    assert len(printed) == 2


def test_turns_that_do_not_fit_are_left_out_whole() -> None:
    batch = collate([[("is it a cat ?", "yes")] * 5], 60)
    assert batch.turns.max() == 2
    assert (batch.labels >= 0).sum() == 4


def test_a_word_that_is_not_in_the_vocabulary_is_an_error() -> None:
    with pytest.raises(KeyError, match="zebra"):
        collate([[("is it a zebra ?", "yes")]], 60)


class OlderModel(torch.nn.Module):
    """A language model with the arguments that transformers had before version 5.24."""

    def forward(self, input_ids: torch.Tensor, past_key_values: object = None) -> None: ...


class NewerModel(torch.nn.Module):
    """A language model with the arguments that transformers has since version 5.24."""

    def forward(self, input_ids: torch.Tensor, cache: object = None) -> None: ...


def test_the_cache_is_passed_by_the_name_that_the_installed_transformers_uses() -> None:
    assert cache_argument(OlderModel()) == "past_key_values"
    assert cache_argument(NewerModel()) == "cache"
