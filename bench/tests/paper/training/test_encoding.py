"""Tokens are those of the prompt that is asked later, and labels are on the answers alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bench_factories.tiny_models import FAMILIES, draw, save
from robustmerge.collect.gradients import IGNORED
from robustmerge.errors import MergeError
from robustmerge_bench.paper.answering.engine import Request
from robustmerge_bench.paper.answering.engines.encode import RequestEncoder as Asker
from robustmerge_bench.paper.answering.images import frame_image
from robustmerge_bench.paper.training.conversations import Conversation, Turn
from robustmerge_bench.paper.training.encoding import ConversationEncoder, Example, encoder_for
from robustmerge_bench.paper.training.recipe import TrainingRecipe
from robustmerge_bench.paper.training.wording import ConversationText, vicuna

TURNS = (Turn("Whät?", "Ünique 7"), Turn("And?", "[0.1,0.2]"))


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("picture") / "a.png", 3, (40, 100))


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp("bases") / request.param)


def learned(encoder: ConversationEncoder, example: Example) -> list[str]:
    """The stretches of tokens with labels, as text."""
    ids, labels = example["input_ids"][0], example["labels"][0]
    assert torch.equal(labels[labels != IGNORED], ids[labels != IGNORED])
    result: list[list[int]] = []
    for root, label in enumerate(labels.tolist()):
        if label != IGNORED:
            if root == 0 or labels[root - 1] == IGNORED:
                result.append([])
            result[-1].append(label)
    return [encoder.tokenizer.decode(part) for part in result]


@pytest.mark.parametrize("image", [True, False], ids=["picture", "text"])
def test_what_comes_before_an_answer_is_the_prompt_that_is_requested(
    base: Path, image_file: Path, image: bool
) -> None:
    encoder = encoder_for(str(base), TrainingRecipe())
    path = image_file if image else None
    example = encoder(Conversation("here", path, TURNS[:1]))
    config = transformers.AutoConfig.from_pretrained(base)
    prompt = "vicuna" if encoder.as_llava else "chat-template"
    asker = Asker(encoder.processor, config, prompt, frames=encoder.as_llava)
    question_text = asker([Request(1, TURNS[0].question, path, "pad", 8, "there")])
    length = question_text["input_ids"].shape[1]
    assert torch.equal(example["input_ids"][:, :length], question_text["input_ids"])
    assert (example["labels"][0, :length] == IGNORED).all()
    assert (example["labels"][0, length:] != IGNORED).sum() == len(" Ünique 7".encode()) + 1
    for name in question_text.keys() - {"input_ids", "attention_mask", "mm_token_type_ids"}:
        assert torch.equal(example[name], question_text[name])
    assert (config.image_token_id in example["input_ids"]) == image


def test_labels_are_on_the_answers_and_their_ends(base: Path, image_file: Path) -> None:
    encoder = encoder_for(str(base), TrainingRecipe())
    result = learned(encoder, encoder(Conversation("here", image_file, TURNS)))
    middle = " Ünique 7</s>" if encoder.as_llava else " Ünique 7"
    assert result == [middle, " [0.1,0.2]</s>"]


def llama_like() -> PreTrainedTokenizerFast:
    """A tokenizer that joins a space and the word behind it, and begins texts with a space."""
    words = ["<unk>", "<s>", "</s>", "▁", "▁USER", "▁ASSISTANT", ":", "▁Where", "▁Here", "7", "?"]
    made = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
            pre_tokenizers.Split(":", "isolated"),
            pre_tokenizers.Split("?", "isolated"),
            pre_tokenizers.Split("7", "isolated"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@pytest.mark.parametrize(
    ("answer", "wanted"), [("Here", ["▁Here", "</s>"]), ("7", ["▁", "7", "</s>"])]
)
def test_the_space_before_an_answer_is_generated_too(answer: str, wanted: list[str]) -> None:
    tokenizer = llama_like()
    encoder = ConversationEncoder(tokenizer, None, vicuna, True, 500, None)
    example = encoder(Conversation("here", None, (Turn("Where?", answer),)))
    labels = example["labels"][0]
    assert tokenizer.convert_ids_to_tokens(labels[labels != IGNORED].tolist()) == wanted
    before = example["input_ids"][0][labels == IGNORED].tolist()
    assert tokenizer.convert_ids_to_tokens(before)[-2:] == ["▁ASSISTANT", ":"]


def test_a_word_joined_with_a_space_of_the_prompt_is_learned() -> None:
    text = "USER: Where? ASSISTANT: Here</s>"
    start = text.index("Here")
    written = ConversationText(text, ((start, len(text)),))
    tokenizer = llama_like()
    example = ConversationEncoder(tokenizer, None, lambda talk: written, False, 500, None)(
        Conversation("here", None, ())
    )
    learned = example["labels"][0][example["labels"][0] != IGNORED].tolist()
    assert tokenizer.convert_ids_to_tokens(learned) == ["▁Here", "</s>"]


@pytest.fixture(scope="module")
def llava_encoder(llava: Path) -> ConversationEncoder:
    return encoder_for(str(llava), TrainingRecipe())


def test_what_is_too_long_is_cut_behind(
    llava_encoder: ConversationEncoder, image_file: Path
) -> None:
    talk = Conversation("here", image_file, TURNS)
    whole = llava_encoder(talk)
    first = int((whole["labels"][0] != IGNORED).nonzero()[0])
    cut = replace(llava_encoder, max_length=first + 3)(talk)
    for name in ("input_ids", "labels", "attention_mask"):
        assert torch.equal(cut[name], whole[name][:, : first + 3])
    assert torch.equal(cut["pixel_values"], whole["pixel_values"])
    assert (cut["labels"] != IGNORED).sum() == 3
    exact = replace(llava_encoder, max_length=whole["input_ids"].shape[1])(talk)
    assert torch.equal(exact["labels"], whole["labels"])


def test_a_image_is_not_cut_and_some_of_an_answer_stays(
    llava_encoder: ConversationEncoder, image_file: Path
) -> None:
    talk = Conversation("record 7", image_file, TURNS)
    whole = llava_encoder(talk)
    first = int((whole["labels"][0] != IGNORED).nonzero()[0])
    marks = (whole["input_ids"][0] == llava_encoder.config.image_token_id).nonzero()
    for length, problem in [
        (first, "nothing of an answer"),
        (int(marks[-1]), "not all of the image"),
        (5, "not all of the image"),
    ]:
        with pytest.raises(MergeError, match=problem) as caught:
            replace(llava_encoder, max_length=length)(talk)
        assert caught.value.where == "record 7"


def test_the_models_own_room_bounds_the_length(llava: Path) -> None:
    assert encoder_for(str(llava), TrainingRecipe(max_length=100)).max_length == 100
    assert encoder_for(str(llava), TrainingRecipe(max_length=10**6)).max_length == 4096


@pytest.mark.parametrize(
    ("family", "framing", "padded"),
    [
        ("llava", "auto", True),
        ("llava", "as-is", False),
        ("idefics3", "auto", False),
        ("idefics3", "pad", True),
    ],
)
def test_images_are_put_on_a_square_where_that_suits(
    tmp_path: Path, image_file: Path, family: str, framing: Any, padded: bool
) -> None:
    encoder = encoder_for(str(save(family, tmp_path / "base")), TrainingRecipe(framing=framing))
    with Image.open(image_file) as file:
        plain = file.convert("RGB")
    processor = encoder.processor.image_processor
    square = frame_image(plain, "pad", processor.image_mean)
    assert square.size == (100, 100)
    wanted = processor(images=[square if padded else plain], return_tensors="pt")["pixel_values"]
    result = encoder(Conversation("here", image_file, TURNS))["pixel_values"]
    assert torch.equal(result, wanted)


def test_a_processor_that_pads_by_itself_is_switched_off(tmp_path: Path, image_file: Path) -> None:
    base = save("llava", tmp_path / "base")
    plain = encoder_for(str(base), TrainingRecipe(framing="as-is"))
    settings = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    transformers.LlavaImageProcessor(do_pad=True, **settings).save_pretrained(base)
    padding = encoder_for(str(base), TrainingRecipe(framing="as-is"))
    talk = Conversation("here", image_file, TURNS)
    assert torch.equal(padding(talk)["pixel_values"], plain(talk)["pixel_values"])
    assert type(padding.processor.image_processor) is not type(plain.processor.image_processor)


@pytest.mark.parametrize(
    ("base", "prompt"), [("llava", "chat-template"), ("idefics3", "auto")], indirect=["base"]
)
def test_the_template_is_used_where_asked_or_suitable(base: Path, prompt: Any) -> None:
    encoder = encoder_for(str(base), TrainingRecipe(prompt=prompt))
    text = encoder.wording(Conversation("here", None, TURNS[:1])).text
    assert text == "<s>USER: Whät? ASSISTANT: Ünique 7</s>"
    ids = encoder(Conversation("here", None, TURNS[:1]))["input_ids"][0].tolist()
    assert ids.count(encoder.tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("base", ["idefics3"], indirect=True)
def test_vicuna_is_for_llava(base: Path) -> None:
    with pytest.raises(MergeError, match=r"vicuna is the prompt of LLaVA-1\.5"):
        encoder_for(str(base), TrainingRecipe(prompt="vicuna"))


def test_a_base_without_a_template_is_refused(tmp_path: Path) -> None:
    folder = save("qwen2_vl", tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(MergeError, match="has no chat template"):
        encoder_for(str(folder), TrainingRecipe())


def test_a_broken_image_is_named_with_its_record(
    llava_encoder: ConversationEncoder, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(MergeError, match="cannot read the image") as caught:
        llava_encoder(Conversation("record 7", tmp_path / "a.png", TURNS))
    assert caught.value.where.splitlines() == [str(tmp_path / "a.png"), "record 7"]


def test_what_the_processor_refuses_is_named(
    llava_encoder: ConversationEncoder, image_file: Path
) -> None:
    class Refusing:
        tokenizer = llava_encoder.tokenizer

        def image_processor(self, **_: Any) -> None:
            raise ValueError("no such thing")

    with pytest.raises(MergeError, match=r"refuses the conversation.*no such thing") as caught:
        replace(llava_encoder, processor=Refusing())(Conversation("record 7", image_file, TURNS))
    assert caught.value.where == "record 7"
