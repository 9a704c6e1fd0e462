"""Questions a second that a model answers in batches, against one at a time as released scripts do.

Without --base, a LLaVA-1.5 with random weights is created: images and CLIP's width have their real
size, tower and language model the depth of the options. It hardly ever ends an answer, so that
every answer has --tokens tokens; real answers differ in length, and batches wait for the longest.
Both sides run the same weights on the same questions, in turns; only their ratio means something.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    CLIPImageProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from robustmerge_bench.paper.answering.engine import Request
from robustmerge_bench.paper.answering.engines.live import LocalEngine
from robustmerge_bench.paper.answering.family import is_llava_15, prompt_for, settings_of
from robustmerge_bench.paper.answering.options import AnsweringOptions

IMAGE = 259


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="a model's folder; one of random weights unless given")
    parser.add_argument("--adapter")
    parser.add_argument("--width", type=int, default=256, help="of the random model; 4096 is 7B's")
    parser.add_argument("--layers", type=int, default=4, help="of the random model; 32 is 7B's")
    parser.add_argument("--tower", type=int, default=2, help="its tower's layers; 24 is 7B's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--batches", default="4,16", help="sizes to try")
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = arguments.base or str(
            save_model(folder / "llava", arguments.width, arguments.layers, arguments.tower)
        )
        requests = questions(folder, arguments.questions, arguments.tokens)
        print(json.dumps(measure(base, arguments, requests), indent=2))


def measure(
    base: str, arguments: argparse.Namespace, requests: Sequence[Request]
) -> dict[str, Any]:
    """Return questions a second one at a time and in batches, and their ratios."""
    settings = settings_of(base)
    options = AnsweringOptions(device=arguments.device, dtype=arguments.dtype)
    engine = LocalEngine(
        base,
        arguments.adapter,
        settings=settings,
        prompt=prompt_for(settings, "auto", base),
        device=arguments.device,
        dtype=options.dtype_for(llava_15=is_llava_15(settings)),
        batch=1,
    )
    engine.answer(requests[:2])  # what is done once
    rates: dict[str, float] = {
        "one at a time": rate(lambda: one_at_a_time(engine, requests), requests)
    }
    for size in map(int, arguments.batches.split(",")):
        engine.batch = size
        engine.answer(requests[:size])
        rates[f"batches of {size}"] = rate(lambda: engine.answer(requests), requests)
    first = next(iter(rates.values()))
    return {
        "facts": dict(engine.facts()),
        "questions a second": {name: round(value, 3) for name, value in rates.items()},
        "times one at a time": {name: round(value / first, 2) for name, value in rates.items()},
    }


def one_at_a_time(engine: LocalEngine, requests: Sequence[Request]) -> None:
    """Read, generate and decode each request before the next."""
    for request in requests:
        engine._texts(engine._generate(engine._encode([request]), request.max_new_tokens))


def rate(work: Callable[[], object], requests: Sequence[Request]) -> float:
    start = perf_counter()
    work()
    return len(requests) / (perf_counter() - start)


def questions(folder: Path, count: int, tokens: int) -> list[Request]:
    """Return questions about images of noise, 640 x 480."""
    result = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((640, 480)).save(path)
        text = f"What is in picture {number}?\nAnswer the question using a single word or phrase."
        result.append(Request(number, text, path, "pad", tokens, path.name))
    return result


def save_model(folder: Path, width: int, layers: int, tower: int) -> Path:
    """Write a LLaVA-1.5 of random weights with its processor."""
    text = {
        "model_type": "llama",
        "vocab_size": 320,
        "hidden_size": width,
        "intermediate_size": width * 11 // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 128),
        "num_key_value_heads": max(1, width // 128),
        "max_position_embeddings": 4096,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": tower,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    }
    config = AutoConfig.for_model(
        "llava", text_config=text, vision_config=vision, image_token_id=IMAGE
    )
    model = AutoModelForImageTextToText.from_config(config).half()
    model.save_pretrained(folder)
    side = {"height": 336, "width": 336}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=side),
        tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per byte."""
    words = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "<image>"]
    words += [f"<unused{n}>" for n in range(320 - len(words))]
    bytewise = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, []))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=["<image>"],
    )


if __name__ == "__main__":
    main()
