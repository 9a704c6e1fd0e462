"""The real loading code on folders of tiny models, one family after another.

The other side is a loop: one question at a time, nothing padded, the adapter beside the weights,
tokens chosen by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, CLIPImageProcessor, LlavaImageProcessor

from bench_factories.question_files import fill
from bench_factories.tiny_models import FAMILIES, draw, save, tokenizer
from factories.families import _quiet, attach, save_adapter
from robustmerge import MergeError
from robustmerge.collect.load import load_processor
from robustmerge_bench.paper.answering.engine import Request
from robustmerge_bench.paper.answering.engines import live
from robustmerge_bench.paper.answering.engines.live import LocalEngine
from robustmerge_bench.paper.answering.family import is_llava_15, prompt_for, settings_of
from robustmerge_bench.paper.answering.options import AnsweringOptions
from robustmerge_bench.paper.answering.prompts import vicuna
from robustmerge_bench.paper.answering.questions import read_prompts
from robustmerge_bench.paper.tasks import TASKS

MOST = 4
TEXTS = ("What is it?", "Which of all of these is the largest one?", "Why?\nOne word.", "Where?")
SIZES = ((60, 40), (40, 60), (90, 30), (28, 28))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for number, size in enumerate(SIZES):
        draw(root / f"{number}.png", number, size)
    return root


def folders(made: Path, family: str) -> tuple[Path, Path]:
    base, adapter = made / family, made / f"{family}-adapter"
    if not base.exists():
        save(family, base)
        save_adapter(family, adapter, seed=3 if family == "qwen3_vl" else 5)
    return base, adapter


@cache
def engine(base: Path, adapter: Path | None, batch: int = 3) -> LocalEngine:
    return fresh(base, adapter, batch)


def fresh(base: Path, adapter: Path | None, batch: int = 3, dtype: str = "float32") -> LocalEngine:
    settings = settings_of(str(base))
    return LocalEngine(
        str(base),
        str(adapter) if adapter else None,
        settings=settings,
        prompt=prompt_for(settings, "auto", str(base)),
        device="cpu",
        dtype=dtype,
        batch=batch,
    )


def questions(made: Path) -> list[Request]:
    """Four with images of other shapes, two without, not sorted by anything."""
    requests = [
        Request(n, text, made / f"{n}.png", "pad" if n % 2 else "crop", MOST, f"x.json, record {n}")
        for n, text in enumerate(TEXTS)
    ]
    requests.insert(1, Request("t", "And in words?", None, "crop", MOST, "x.json, record 8"))
    return [*requests, Request("u", "And?", None, "crop", MOST, "x.json, record 9")]


def separately(base: Path, adapter: Path | None, requests: list[Request]) -> list[str]:
    """Each question alone, by the model's own processor; greedy choice written out."""
    with _quiet():
        model: Any = AutoModelForImageTextToText.from_pretrained(base).eval()
        model = attach(model, adapter) if adapter else model
    words = tokenizer(base.name)
    return [_generate_alone(model, words, base.name, inputs_of(base, one)) for one in requests]


def inputs_of(base: Path, one: Request) -> dict[str, Any]:
    processor = load_processor(str(base))
    image = Image.open(one.image).convert("RGB") if one.image else None
    if base.name == "llava":
        # In place, which is the same for a tokenizer without a prefix.
        text = vicuna(one.text, image is not None).replace("<image>", "<image>" * 4)
        ids = torch.tensor([processor.tokenizer(text).input_ids])
        result = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if image is not None:
            kind = LlavaImageProcessor if one.framing == "pad" else CLIPImageProcessor
            more = {"do_pad": True} if one.framing == "pad" else {}
            side = {"height": 28, "width": 28}
            made = kind(size={"shortest_edge": 28}, crop_size=side, **more)
            result |= dict(made(image, return_tensors="pt"))
        return result
    parts: list[dict[str, str]] = [{"type": "image"}] if image else []
    turn = {"role": "user", "content": [*parts, {"type": "text", "text": one.text}]}
    text = processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    more = {"images": [image]} if image else {}
    return dict(processor(text=text, return_tensors="pt", add_special_tokens=False, **more))


def _generate_alone(model: Any, words: Any, family: str, inputs: Mapping[str, Any]) -> str:
    arguments, chosen = dict(inputs), []
    for _ in range(MOST):
        with torch.no_grad():
            token = int(model(**arguments).logits[0, -1].argmax())
        if token == words.eos_token_id:
            break
        chosen.append(token)
        more = torch.tensor([[token]])
        arguments["input_ids"] = torch.cat([arguments["input_ids"], more], dim=1)
        for name in ("attention_mask", "mm_token_type_ids"):
            if name in arguments:
                last = torch.full_like(more, int(name == "attention_mask"))
                arguments[name] = torch.cat([arguments[name], last], dim=1)
    return str(words.decode(chosen, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_one_question_at_a_time(made: Path, family: str) -> None:
    base, adapter = folders(made, family)
    requests = questions(made)
    wanted = separately(base, adapter, requests)
    assert len(set(wanted)) > 3
    assert engine(base, adapter).answer(requests) == wanted
    assert engine(base, adapter, 1).answer(requests) == wanted
    assert engine(base, None).answer(requests) != wanted


@torch.no_grad()
def last(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """What the model makes of the next token [batch, vocabulary]."""
    logits: torch.Tensor = model(**inputs).logits[:, -1]
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_as_many_questions_alone(made: Path, family: str) -> None:
    """In numbers, since texts of tiny models hide much; and images and adapters count."""
    base, adapter = folders(made, family)
    requests = [one for one in questions(made) if one.image]
    whole, bare = engine(base, adapter), engine(base, None)
    result = last(whole.model, whole._encode(requests))
    for one, row in zip(requests, result, strict=True):
        wanted = last(whole.model, inputs_of(base, one))[0]
        torch.testing.assert_close(row, wanted, atol=2e-4, rtol=2e-4)
        for other in (replace(one, image=made / "x.png"), replace(one, image=None)):
            draw(made / "x.png", 77, SIZES[0])
            assert not torch.allclose(row, last(whole.model, whole._encode([other]))[0], atol=1e-2)
        assert not torch.allclose(row, last(bare.model, bare._encode([one]))[0], atol=1e-2)


def test_no_torchvision() -> None:
    assert "torchvision" not in sys.modules


def test_framing_is_for_llava_15_alone(made: Path) -> None:
    for family, frames in (("llava", True), ("llava_next", False), ("qwen2_vl", False)):
        base, adapter = folders(made, family)
        one = questions(made)[3]  # wide
        model = engine(base, adapter)
        cut, padded = (model._encode([replace(one, framing=f)]) for f in ("crop", "pad"))
        assert torch.equal(cut["pixel_values"], padded["pixel_values"]) != frames
        assert model.facts()["pictures"] == ("as the task's script" if frames else "as they are")


def test_llavas_own_padding_does_not_come_on_top(made: Path, tmp_path: Path) -> None:
    base, adapter = folders(made, "llava")
    padding = save("llava", tmp_path / "llava")
    side = {"height": 28, "width": 28}
    LlavaImageProcessor(do_pad=True, size={"shortest_edge": 28}, crop_size=side).save_pretrained(
        padding
    )
    requests = questions(made)
    assert engine(padding, adapter).answer(requests) == engine(base, adapter).answer(requests)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_answers(made: Path, dtype: str) -> None:
    """Added to the weights in float16, next to them in bfloat16."""
    base, adapter = folders(made, "llava")
    model = fresh(base, adapter, dtype=dtype)
    assert all(isinstance(text, str) for text in model.answer(questions(made)))
    layers = [name for name, _ in model.model.named_parameters() if "lora_" in name]
    assert bool(layers) == (dtype == "bfloat16")
    assert model.facts()["adapter"] == ("beside" if layers else "added to") + " the weights"
    assert {p.dtype for n, p in model.model.named_parameters() if "lora_" not in n} == {
        getattr(torch, dtype)
    }


def test_too_little_memory_halves_the_batch(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapter = folders(made, "llava")
    requests = questions(made)
    wanted = engine(base, adapter).answer(requests)
    model = fresh(base, adapter, 4)
    real, sizes = model._generate, []

    def scarce(inputs: Mapping[str, Any], most: int) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return real(inputs, most)

    monkeypatch.setattr(model, "_generate", scarce)
    assert model.answer(requests) == wanted
    assert sizes == [4, 2, 1, 1, 2, 1, 1, 2, 1, 1]
    assert model.batch == 1

    def none(inputs: Mapping[str, Any], most: int) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(model, "_generate", none)
    with pytest.raises(MergeError, match="single question: CUDA out of memory") as caught:
        model.answer(requests)
    assert "record" in str(caught.value)
    assert "--dtype" in str(caught.value)


def test_likelihoods_of_the_models_own_settings_are_not_used(made: Path, tmp_path: Path) -> None:
    base, adapter = folders(made, "llava")
    hot = save("llava", tmp_path / "llava")
    (hot / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 3.0, "top_p": 0.9, "repetition_penalty": 4.0, '
        '"eos_token_id": [2, 309], "pad_token_id": 0, "max_length": 3}'
    )
    model = engine(hot, adapter)
    assert model.answer(questions(made)) == engine(base, adapter).answer(questions(made))
    assert model.model.generation_config.eos_token_id == [2, 309]


@pytest.mark.parametrize("family", ["qwen2_vl", "llava_onevision", "internvl", "smolvlm"])
@pytest.mark.parametrize("named", [True, False])
def test_folders_as_transformers_5_writes_them(
    made: Path, tmp_path: Path, family: str, named: bool
) -> None:
    """One file for the whole processor, its video part too; and as it was, a template in JSON."""
    base, adapter = folders(made, family)
    newer = save(family, tmp_path / family)
    images, whole = newer / "preprocessor_config.json", newer / "processor_config.json"
    settings = json.loads(whole.read_text()) if whole.exists() else {}
    settings["image_processor"] = json.loads(images.read_text())
    settings["video_processor"] = {"video_processor_type": "X", "size": {"shortest_edge": 1}}
    if named:
        settings["processor_class"] = type(load_processor(str(base))).__mro__[1].__name__
    whole.write_text(json.dumps(settings))
    images.unlink()
    template = newer / "chat_template.jinja"
    if not named:
        (newer / "chat_template.json").write_text(
            json.dumps({"chat_template": template.read_text()})
        )
        template.unlink()
    requests = questions(made)
    assert fresh(newer, adapter).answer(requests) == engine(base, adapter).answer(requests)


def test_an_end_within_a_batch(made: Path) -> None:
    """What is generated after an answer's end, for the others' sake, is not part of it."""
    base, adapter = folders(made, "llava")
    model = fresh(base, adapter)
    requests = questions(made)
    whole = model.answer(requests)
    inputs = model._encode(requests[:1])
    first = model._generate(inputs, MOST)[0]
    end = next(n for n in range(1, MOST) if first[n] not in first[:n])
    model.model.generation_config.eos_token_id = [int(first[end])]
    cut = model.answer(requests)
    assert cut[0] == model._tokenizer.decode(first[:end]).strip() != whole[0]
    assert cut[1:] != whole[1:] or len(set(map(len, cut))) > 1


def test_questions_of_a_task_as_its_file_has_them(made: Path, tmp_path: Path) -> None:
    fill(tmp_path, ("imagenet", "scienceqa"), n=4)
    base, adapter = folders(made, "llava")
    for name in ("imagenet", "scienceqa"):
        paper = read_prompts(tmp_path, TASKS[name], AnsweringOptions(max_new_tokens=MOST))
        requests = list(paper.questions)
        assert engine(base, adapter).answer(requests) == separately(base, adapter, requests)
    assert [one.image is None for one in requests] == [False, True, False, False]


def test_a_processor_that_refuses_names_the_question(made: Path) -> None:
    base, adapter = folders(made, "qwen2_vl")
    one = replace(questions(made)[0], text="What is <|image_pad|> here?")
    with pytest.raises(MergeError, match="refuses a question") as caught:
        engine(base, adapter).answer([one])
    assert "x.json, record 0, question 0" in str(caught.value)


def test_no_questions_no_answers(made: Path) -> None:
    base, adapter = folders(made, "llava")
    assert engine(base, adapter).answer([]) == []


def test_what_is_refused(made: Path, tmp_path: Path) -> None:
    base, _ = folders(made, "llava")
    settings = settings_of(str(base))
    options: dict[str, Any] = {"settings": settings, "dtype": "float32", "batch": 1}
    with pytest.raises(MergeError, match="no device 'abacus'"):
        LocalEngine(str(base), None, prompt="vicuna", device="abacus", **options)
    bare = save("llava_next", tmp_path / "llava_next")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(MergeError, match="no chat template"):
        engine(bare, None)
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(MergeError, match="no processor for images"):
        engine(bare, None)
    with pytest.raises(MergeError, match="is llava_next"):
        prompt_for(settings_of(str(bare)), "vicuna", "x")
    assert prompt_for(settings_of(str(bare)), "auto", "x") == "chat-template"
    assert prompt_for(settings, "auto", "x") == "vicuna"
    assert prompt_for(settings, "chat-template", "x") == "chat-template"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"model_type": "llava"}, True),
        ({"model_type": "llava", "text_config": {"model_type": "llama"}}, True),
        ({"model_type": "llava", "vision_config": {"model_type": "clip_vision_model"}}, True),
        ({"model_type": "llava", "text_config": {"model_type": "qwen2"}}, False),
        ({"model_type": "llava", "vision_config": {"model_type": "siglip_vision_model"}}, False),
        ({"model_type": "llava_next", "text_config": {"model_type": "llama"}}, False),
        ({}, False),
    ],
)
def test_which_models_are_llava_15(settings: dict[str, Any], wanted: bool) -> None:
    assert is_llava_15(settings) == wanted


def test_places_of_a_batch_are_of_one_kind_and_length() -> None:
    requests = [
        Request(n, "x" * (n * 7 % 5), Path("x") if n % 3 else None, "crop", 4 + n % 2, "")
        for n in range(20)
    ]
    batches = list(live._batches(requests, 3))
    assert sorted(n for one in batches for n in one) == list(range(20))
    for one in batches:
        assert len(one) <= 3
        assert len({(requests[n].image is None, requests[n].max_new_tokens) for n in one}) == 1
    assert len(batches) < 11


def test_the_oracle_is_peft(made: Path) -> None:
    base, adapter = folders(made, "llava")
    with _quiet():
        model = AutoModelForImageTextToText.from_pretrained(base)
        assert isinstance(attach(model, adapter), PeftModel)
