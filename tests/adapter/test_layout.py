"""Four layouts, one name inside."""

from __future__ import annotations

import pytest

from robustmerge.adapter.layout import LAYOUTS, canonical, detect, tower, written
from robustmerge.errors import MergeError

LM, HEAD = "model.language_model.layers.3.mlp.up_proj", "lm_head"
TOWER = "model.vision_tower.encoder.layers.0.mlp.fc1"
PROJECTOR = "model.multi_modal_projector.linear_1.weight"


@pytest.mark.parametrize(
    ("name", "layout", "inside"),
    [
        ("language_model.model.layers.3.mlp.up_proj", "hf-old", LM),
        ("model.layers.3.mlp.up_proj", "flat", LM),
        ("model.layers.3.mlp.up_proj", "llava", LM),
        (LM, "hf", LM),
        ("language_model.lm_head", "hf-old", HEAD),
        (HEAD, "hf", HEAD),
        ("vision_tower.vision_model.encoder.layers.0.mlp.fc1", "hf-old", TOWER),
        ("vision_tower.vision_model.head.mlp.fc1", "hf-old", "model.vision_tower.head.mlp.fc1"),
        ("vision_tower.encoder.layer.0.mlp.fc1", "hf-old", TOWER.replace("layers", "layer")),
        ("model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc1", "llava", TOWER),
        ("multi_modal_projector.linear_1.weight", "hf-old", PROJECTOR),
        ("model.mm_projector.0.weight", "llava", PROJECTOR),
        ("model.mm_projector.2.bias", "llava", "model.multi_modal_projector.linear_2.bias"),
        ("visual.blocks.1.attn.qkv", "flat", "model.visual.blocks.1.attn.qkv"),
        ("model.text_model.layers.0.mlp.up_proj", "hf", "model.text_model.layers.0.mlp.up_proj"),
    ],
)
def test_there_and_back(name: str, layout: str, inside: str) -> None:
    assert canonical(name) == inside
    assert written(inside, layout) == name


def test_spellings_that_are_only_read() -> None:
    assert canonical("vision_tower.encoder.layers.0.mlp.fc1") == TOWER
    assert canonical("model.vision_tower.vision_model.encoder.layers.0.mlp.fc1") == TOWER
    assert canonical("model.language_model.model.layers.3.mlp.up_proj") == LM


def test_whole_segments_only() -> None:
    assert canonical("model.layers_extra.0") == "model.layers_extra.0"
    assert canonical("visually.impaired") == "visually.impaired"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [LM, HEAD, TOWER, PROJECTOR])
def test_every_layout_comes_back(layout: str, name: str) -> None:
    assert canonical(written(name, layout)) == name


def test_the_layout_is_detected() -> None:
    assert detect([LM, TOWER]) == "hf"
    assert detect(["language_model.model.layers.0.x", "language_model.lm_head"]) == "hf-old"
    assert detect(["model.layers.0.x", "visual.blocks.0.y"]) == "flat"
    assert detect(["model.layers.0.x", "model.mm_projector.0.weight"]) == "llava"
    assert detect(["model.layers.0.x", "language_model.model.layers.0.x"]) == "hf"


def test_towers() -> None:
    assert tower(LM) == tower(HEAD) == "language"
    assert tower("model.text_model.layers.0.x") == "language"
    assert tower(TOWER) == tower("model.visual.blocks.0.x") == "vision"
    assert tower("model.vision_model.encoder.layers.0.x") == "vision"
    assert tower(PROJECTOR) == tower("model.connector.modality_projection.proj") == "connector"
    assert tower("transformer.h.0.attn.c_attn") == "other"


def test_unknown_layout() -> None:
    with pytest.raises(MergeError, match="did you mean hf-old"):
        written(LM, "hf_old")
