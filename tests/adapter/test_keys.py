"""The grammar of tensor names."""

from __future__ import annotations

import pytest

from robustmerge.adapter.keys import Key, Part, lora_name, parse

M = "model.language_model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (f"base_model.model.{M}.lora_A.weight", Key(M, Part.A)),
        (f"base_model.model.{M}.lora_B.weight", Key(M, Part.B)),
        (f"base_model.model.{M}.lora_A.default.weight", Key(M, Part.A)),
        (f"base_model.model.{M}.lora_B.my-task.weight", Key(M, Part.B)),
        (f"{M}.lora_A.weight", Key(M, Part.A)),
        (f"base_model.model.{M}.lora_B.bias", Key(M, Part.LORA_BIAS)),
        (f"base_model.model.{M}.lora_B.default.bias", Key(M, Part.LORA_BIAS)),
        (
            f"base_model.model.{M}.lora_magnitude_vector",
            Key(M, Part.MAGNITUDE, "lora_magnitude_vector"),
        ),
        (
            f"base_model.model.{M}.lora_magnitude_vector.default.weight",
            Key(M, Part.MAGNITUDE, "lora_magnitude_vector"),
        ),
        (
            "base_model.model.model.embed_tokens.lora_embedding_A",
            Key("model.embed_tokens", Part.EMBEDDING_A),
        ),
        (
            "base_model.model.model.embed_tokens.lora_embedding_B.default",
            Key("model.embed_tokens", Part.EMBEDDING_B),
        ),
        (
            "base_model.model.lm_head.base_layer.weight",
            Key("lm_head", Part.BASE, "base_layer.weight"),
        ),
        (
            "base_model.model.model.vision_tower.head.attention.base_layer.out_proj.lora_A.weight",
            Key("model.vision_tower.head.attention.base_layer.out_proj", Part.A),
        ),
        (
            "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
            Key("model.embed_tokens", Part.TOKENS, "token_adapter.trainable_tokens_delta"),
        ),
        (
            "base_model.model.model.multi_modal_projector.linear_1.bias",
            Key("model.multi_modal_projector.linear_1", Part.FULL, "bias"),
        ),
        (
            "base_model.model.model.multi_modal_projector.modules_to_save.default.linear_1.weight",
            Key("model.multi_modal_projector.linear_1", Part.FULL, "weight"),
        ),
        (
            "base_model.model.lm_head.modules_to_save.weight",
            Key("lm_head", Part.FULL, "weight"),
        ),
        ("base_model.model.image_newline", Key("", Part.FULL, "image_newline")),
        (f"base_model.model.{M}.lora_A.bias", None),
        (f"base_model.model.{M}.lora_diag", None),
        (f"base_model.model.{M}.lora_A.one.two.weight", None),
    ],
)
def test_parse(name: str, key: Key | None) -> None:
    assert parse(name) == key


@pytest.mark.parametrize("part", [Part.A, Part.B, Part.EMBEDDING_A, Part.EMBEDDING_B])
def test_written_names_parse_to_themselves(part: Part) -> None:
    assert parse(lora_name(M, part)) == Key(M, part)
