"""A genuine LLaVA of the two pretrained parts, which plain transformers save, load and run."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from robustmerge.errors import writing

from .tower import (
    CENTER,
    GRID,
    HALF,
    SIDE,
    TOKENS,
    LiteTower,
    LiteTowerConfig,
    load_weights,
    register_tower,
)

IMAGE = "<empty_output>"
"""A token of SmolLM2 without a use, which stands for a token of the image."""

TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message.role + "\\n" }}
{%- for part in message.content -%}
{%- if part.type == "image" %}<empty_output>{{ "\\n" }}{% else %}{{ part.text }}{% endif -%}
{%- endfor -%}<|im_end|>{{ "\\n" }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>{{ "assistant\\n" }}{% endif -%}"""


def join(
    text: LlamaConfig, vision: LiteTowerConfig, image_token: int
) -> LlavaForConditionalGeneration:
    """Return an untrained model of the stock class; the projector is one of two layers."""
    register_tower()
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token,
        image_seq_length=TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(config)


def load_language_model(folder: Path, file: str) -> tuple[LlamaForCausalLM, LlamaConfig]:
    """Read a GGUF file in float32, with settings that no longer say that it was quantized.

    SmolLM2-135M takes about 20 s of one core and 1.1 GB.
    """
    import_module("gguf")  # or transformers' own error says less
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    return read, LlamaConfig(**settings)


def load_tokenizer(folder: Path, file: str) -> PreTrainedTokenizerBase:
    """Read the tokenizer in a GGUF file, with its chat template."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    return tokenizer


def assemble(gguf: Path, tower_weights: Path) -> LlavaForConditionalGeneration:
    """Return the model with pretrained parts and a projector that knows nothing yet."""
    read, text = load_language_model(gguf.parent, gguf.name)
    tokenizer = load_tokenizer(gguf.parent, gguf.name)
    model = join(text, LiteTowerConfig(), tokenizer.convert_tokens_to_ids(IMAGE))
    state = read.state_dict()
    inner = {n.removeprefix("model."): w for n, w in state.items() if n.startswith("model.")}
    model.model.language_model.load_state_dict(inner)
    model.tie_weights()
    tower = model.model.vision_tower
    assert isinstance(tower, LiteTower)
    load_weights(tower, str(tower_weights))
    scale_projector(model)
    return model.eval()


def save_base(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Write model, tokenizer and processor for plain transformers, whole or not at all."""
    with (
        writing(folder),
        TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as new,
    ):
        content = Path(new) / "content"
        model.save_pretrained(content)
        make_processor(tokenizer).save_pretrained(content)
        content.rename(folder)


def make_processor(tokenizer: PreTrainedTokenizerBase) -> LlavaProcessor:
    """Return the processor of images and texts, which says what `Dialog` says."""
    from transformers import CLIPImageProcessor  # prints advice about torchvision when imported

    images = CLIPImageProcessor(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[CENTER / 255] * 3,
        image_std=[HALF / 255] * 3,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=SIDE // GRID,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE,
        chat_template=TEMPLATE,
    )


@torch.no_grad()
def scale_projector(model: LlavaForConditionalGeneration) -> None:
    """Make the projector's outputs as large as word embeddings, for inputs of variance 1.

    The size is part of the second layer's weights, so that the stock class needs no further scale.
    """
    projector = model.model.multi_modal_projector
    spread = float(model.get_input_embeddings().weight.std())
    width = projector.linear_1.in_features
    probe = torch.randn(256, width, generator=torch.Generator().manual_seed(0))
    projector.linear_2.weight.mul_(spread / projector(probe).std())
