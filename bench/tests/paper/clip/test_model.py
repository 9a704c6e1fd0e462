"""CLIP with an adapter and a head: against the definition, and against PEFT used by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPModel, CLIPVisionModel, LlamaConfig

from factories.families import _quiet
from robustmerge import merge
from robustmerge.errors import MergeError
from robustmerge_bench.paper.answering.clip.model import ClipModel

ATTENTION = r".*self_attn\.(q|k|v|out)_proj"
VISION = rf"vision_model\.{ATTENTION}"
ABOUT = [["a photo of a red.", "a red thing"], ["a photo of a dark blue."], ["green"]]


@pytest.fixture
def clip(base: Path) -> ClipModel:
    return ClipModel.load(str(base))


def expert(
    model: nn.Module, folder: Path, targets: str | list[str], seed: int, **more: object
) -> Path:
    """An adapter of the model, random and far from zero."""
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        peft = get_peft_model(model, LoraConfig(r=4, target_modules=targets, **more))
        for name, weight in peft.named_parameters():
            if ".lora_" in name:
                nn.init.normal_(weight, std=0.3)
        peft.save_pretrained(str(folder))
    return folder


def image_files(n: int = 3) -> list[Image.Image]:
    draws = np.random.default_rng(0)
    return [Image.fromarray(draws.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(n)]


def slowly(
    model: CLIPModel, clip: ClipModel, images: list[Image.Image], adapter: Path | None
) -> Tensor:
    """The logits, one image and one sentence at a time; PEFT used as its documentation does."""
    rows = []
    for sentences in ABOUT:
        total = torch.zeros(24)
        for sentence in sentences:
            ids = torch.tensor([clip.tokenizer(sentence)["input_ids"]])
            text = model.get_text_features(input_ids=ids).pooler_output[0]
            total += text / math.sqrt(sum(float(x) ** 2 for x in text))
        rows.append(total / math.sqrt(sum(float(x) ** 2 for x in total)))
    if adapter is not None:
        with _quiet():
            PeftModel.from_pretrained(model, str(adapter)).eval()
    logits = torch.empty(len(images), len(ABOUT))
    for i, image in enumerate(images):
        pixels = clip.images(image, return_tensors="pt")["pixel_values"]
        seen = model.get_image_features(pixel_values=pixels).pooler_output[0]
        for j, row in enumerate(rows):
            cosine = float(seen @ row) / math.sqrt(sum(float(x) ** 2 for x in seen))
            logits[i, j] = math.exp(float(model.logit_scale)) * cosine
    return logits


def logits(clip: ClipModel, images: list[Image.Image]) -> Tensor:
    with torch.inference_mode():
        return clip.scale * clip.features(clip.pixels(images)) @ clip.head(ABOUT).T


def test_zero_shot_logits_are_the_definitions(base: Path, clip: ClipModel) -> None:
    with torch.no_grad():
        wanted = slowly(CLIPModel.from_pretrained(base), clip, image_files(), None)
    torch.testing.assert_close(logits(clip, image_files()), wanted, rtol=1e-4, atol=1e-4)
    assert wanted.std() > 0.1


def test_an_adapters_logits_are_pefts(base: Path, clip: ClipModel, tmp_path: Path) -> None:
    adapter = expert(CLIPModel.from_pretrained(base), tmp_path / "a", VISION, seed=1)
    before = logits(clip, image_files())
    clip.load_adapter(adapter)
    with torch.no_grad():
        wanted = slowly(CLIPModel.from_pretrained(base), clip, image_files(), adapter)
    torch.testing.assert_close(logits(clip, image_files()), wanted, rtol=1e-4, atol=1e-4)
    assert (wanted - before).abs().max() > 0.1


def test_an_adapter_of_the_vision_encoder_alone(
    base: Path, clip: ClipModel, tmp_path: Path
) -> None:
    whole = expert(CLIPModel.from_pretrained(base), tmp_path / "whole", VISION, seed=1)
    alone = expert(CLIPVisionModel.from_pretrained(base), tmp_path / "alone", ATTENTION, seed=1)
    clip.load_adapter(alone)
    other = ClipModel.load(str(base))
    other.load_adapter(whole)
    assert torch.equal(logits(clip, image_files()), logits(other, image_files()))
    assert not torch.equal(
        logits(clip, image_files()), logits(ClipModel.load(str(base)), image_files())
    )


def test_a_merge_of_two_experts(base: Path, clip: ClipModel, tmp_path: Path) -> None:
    a, b = (
        expert(CLIPModel.from_pretrained(base), tmp_path / name, VISION, seed=seed)
        for seed, name in enumerate("ab", 1)
    )
    merge([a, b], tmp_path / "merged", method="task-arithmetic", rank="full")
    clip.load_adapter(tmp_path / "merged")
    model = CLIPModel.from_pretrained(base)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for adapter in (a, b):
            with _quiet():
                alone = PeftModel.from_pretrained(CLIPModel.from_pretrained(base), str(adapter))
                merged = alone.merge_and_unload()
            for name, weight in CLIPModel.from_pretrained(base).named_parameters():
                weights[name] += merged.get_parameter(name) - weight
        wanted = slowly(model, clip, image_files(), None)
    torch.testing.assert_close(logits(clip, image_files()), wanted, rtol=1e-3, atol=1e-3)


def test_the_head_is_the_bases(base: Path, clip: ClipModel, tmp_path: Path) -> None:
    before = clip.head(ABOUT)
    torch.testing.assert_close(before.norm(dim=1), torch.ones(3))
    clip.load_adapter(expert(CLIPModel.from_pretrained(base), tmp_path / "a", VISION, seed=1))
    assert torch.equal(clip.head(ABOUT), before)


def test_settings_as_openai_published_them(base: Path, clip: ClipModel, tmp_path: Path) -> None:
    old = shutil.copytree(base, tmp_path / "old")
    shape = json.loads((old / "config.json").read_text())
    # Of before the end of a text had the right number: then the highest token is the end.
    shape["text_config"] |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    (old / "config.json").write_text(json.dumps(shape))
    images = json.loads((old / "preprocessor_config.json").read_text())
    del images["image_processor_type"]
    images |= {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32}
    (old / "preprocessor_config.json").write_text(json.dumps(images))
    assert torch.equal(logits(ClipModel.load(str(old)), image_files()), logits(clip, image_files()))


def test_a_long_sentence_is_cut_as_clip_cuts_it(clip: ClipModel) -> None:
    assert torch.equal(clip.head([["red " * 40]]), clip.head([["red " * 50]]))


def test_an_adapter_that_changes_the_text_encoder_is_refused(
    base: Path, clip: ClipModel, tmp_path: Path
) -> None:
    adapter = expert(CLIPModel.from_pretrained(base), tmp_path / "a", ["q_proj"], seed=1)
    with pytest.raises(MergeError, match="the adapter changes the text encoder: text_model") as e:
        clip.load_adapter(adapter)
    assert e.value.where == str(adapter)


def test_an_adapter_of_another_model_is_refused(
    base: Path, clip: ClipModel, tmp_path: Path
) -> None:
    shape = CLIPModel.from_pretrained(base).config
    shape.vision_config.num_hidden_layers = 3
    adapter = expert(CLIPModel(shape), tmp_path / "deeper", VISION, seed=1)
    with pytest.raises(MergeError, match="8 of 24 tensors are not in the model"):
        clip.load_adapter(adapter)


def test_a_base_that_is_no_clip_is_refused(tmp_path: Path) -> None:
    LlamaConfig().save_pretrained(tmp_path / "llama")
    with pytest.raises(MergeError, match="the base is llama, not clip") as caught:
        ClipModel.load(str(tmp_path / "llama"))
    assert caught.value.where == str(tmp_path / "llama")
    with pytest.raises(MergeError, match="the CLIP model cannot be loaded"):
        ClipModel.load(str(tmp_path / "nothing"))
