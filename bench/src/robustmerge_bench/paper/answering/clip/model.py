"""CLIP with an adapter on its vision encoder, and a head that its text encoder makes of sentences.

    head     = n(mean over sentences s of n(text(s)))        one row for each class, n(x) = x / |x|
    logits   = exp(t) · n(image(x)) · headᵀ                  t is CLIP's own learned scale

The head is the base model's, whatever the adapter: computed once, and never trained.

Source: Radford et al., ICML 2021, arXiv:2103.00020, sec. 3.1.4, for the mean over sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, CLIPModel

from robustmerge import load
from robustmerge.errors import MergeError, few, first_line
from robustmerge.files import expand_user
from robustmerge.live.loaded import landed

if TYPE_CHECKING:
    from PIL.Image import Image

_TOWER = "encoder.layers."
"""Start of names where PEFT was given the vision encoder alone, as in transformers 5."""


@dataclass(frozen=True)
class ClipModel:
    """A CLIP model with its processors."""

    model: CLIPModel
    images: Any
    tokenizer: Any

    @classmethod
    def load(
        cls, base: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> ClipModel:
        """Load a frozen model from a folder or the Hub, such as openai/clip-vit-base-patch32."""
        source = str(expand_user(base))
        try:
            kind = AutoConfig.from_pretrained(source).model_type
            if kind == "clip":
                model = CLIPModel.from_pretrained(source, dtype=dtype).to(device)
                images = AutoImageProcessor.from_pretrained(source)
                tokenizer = AutoTokenizer.from_pretrained(source)
        except Exception as error:  # the libraries below have errors of many kinds
            raise MergeError(
                f"the CLIP model cannot be loaded: {first_line(error)}",
                where=base,
                hint="--base is a folder or Hub id with weights, preprocessor_config.json and "
                "tokenizer, such as openai/clip-vit-base-patch32",
            ) from error
        if kind != "clip":
            raise MergeError(
                f"the base is {kind}, not clip",
                where=base,
                hint="the vision tasks are for CLIP, such as openai/clip-vit-base-patch32",
            )
        return cls(model.eval().requires_grad_(False), images, tokenizer)

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        device: torch.device = self.model.device
        return device

    def load_adapter(self, folder: str | Path) -> None:
        """Load an adapter, and check that the model has all of its modules.

        The folder is in PEFT's format, trained on the whole model or on its vision encoder.

        Raises:
            MergeError: The adapter is no LoRA, does not fit, or changes the text encoder.
        """
        adapter = load(folder)
        adapter.close()
        names = [*adapter.modules, *adapter.extras]
        if text := [name for name in names if name.startswith(("text_model", "text_projection"))]:
            raise MergeError(
                f"the adapter changes the text encoder: {few(text)}",
                where=str(folder),
                hint="the head is the base model's, so only the vision encoder may have changed",
            )
        tower = all(name.startswith(_TOWER) for name in names)
        host = self.model.vision_model if tower else self.model
        with catch_warnings():
            simplefilter("ignore", FutureWarning)  # of the libraries' calls to each other
            peft = PeftModel.from_pretrained(host, str(adapter.folder))
        landed(peft, adapter.folder)
        self.model.eval().to(self.device)

    @torch.no_grad()
    def head(self, sentences: Sequence[Sequence[str]]) -> Float[Tensor, "classes dim"]:
        """Return the row of each class, of length 1, from the sentences about it."""
        return torch.stack([self._row(texts) for texts in sentences])

    def _row(self, texts: Sequence[str]) -> Float[Tensor, " dim"]:
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        inputs = {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}
        features = self.model.get_text_features(**inputs).pooler_output.float()  # [texts, dim]
        return normalize(normalize(features, dim=-1).mean(dim=0), dim=-1)

    def pixels(self, images: Sequence[Image]) -> Float[Tensor, "images 3 height width"]:
        """Return images as inputs of the model, on the CPU."""
        pixels: Tensor = self.images(list(images), return_tensors="pt")["pixel_values"]
        return pixels

    def features(
        self, pixels: Float[Tensor, "images 3 height width"]
    ) -> Float[Tensor, "images dim"]:
        """Return the vision encoder's features of images, each of length 1."""
        pixels = pixels.to(self.device, self.model.dtype)
        features: Tensor = self.model.get_image_features(pixel_values=pixels).pooler_output
        return normalize(features.float(), dim=-1)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The factor between cosines and logits."""
        scale: Tensor = self.model.logit_scale.exp().float()
        return scale
