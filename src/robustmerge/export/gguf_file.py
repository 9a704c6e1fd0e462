"""A GGUF file of an adapter, which llama.cpp adds to a model in its own format.

Every update is two tensors under llama.cpp's name of the weight, `blk.0.attn_q.weight.lora_a`
[rank d_in] and `.lora_b` [d_out rank], with one alpha for all: it computes alpha / rank · B A, with
the rank of each. Updates of experts are stacked, [experts rank d_in]. Other scalings than that are
folded into B. Tensors are float32, as llama.cpp's converter writes them by default.

Memory is the factors of one weight, of all experts of a block where these are one weight.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .._version import __version__
from ..adapter.keys import Part
from ..adapter.reader import Adapter
from ..errors import MergeError
from ..files import check_file, check_space, whole_file
from ..threads import Progress
from .architectures import LanguageModel
from .llama_cpp import GgufPlan, UpdatedWeight

SUFFIX = ".gguf"
_MARK = "robustmerge.version"
"""The key that says who wrote a file; the second one, so that it is within the first bytes."""
_FLOAT32 = 4  # bytes


def check_output(output: Path, *, force: bool) -> None:
    """Check before any work that the file may be written.

    Raises:
        MergeError: it may not, or has another suffix, by which llama.cpp's tools know it.
    """
    if output.suffix != SUFFIX:
        raise MergeError(
            f"--format gguf writes a file, and {output.name!r} does not end in {SUFFIX}",
            where=str(output),
            hint=f"-o {output.with_name(output.name + SUFFIX)}",
        )
    check_file(output, _MARK.encode(), force=force)


def write_gguf(
    adapter: Adapter, plan: GgufPlan, output: Path, progress: Progress, *, force: bool
) -> None:
    """Write the file, one weight after the other.

    Raises:
        MergeError: the file cannot be written, or a tensor cannot be read.
    """
    from gguf import GGUFWriter

    alpha = adapter.config.alpha or 1.0  # 0 would mean no scaling at all there
    shapes = {
        f"{weight.name}.lora_{letter}": shape
        for weight in plan.weights
        for letter, shape in zip("ab", weight.shapes, strict=True)
    }
    with whole_file(output, _MARK.encode(), force=force) as partial:
        check_space(partial.parent, sum(_size(shape) for shape in shapes.values()))
        writer = GGUFWriter(partial, plan.model.architecture.name)
        writer.add_string(_MARK, __version__)
        writer.add_type("adapter")
        writer.add_name(output.stem)
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        for name, shape in shapes.items():
            writer.add_tensor_info(name, shape, np.dtype(np.float32), _size(shape))
        try:
            writer.write_header_to_file(partial)
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for done, weight in enumerate(plan.weights, 1):
                for tensor in stored_factors(adapter, weight, plan.model, alpha):
                    writer.write_tensor_data(tensor.numpy())
                progress(done, len(plan.weights))
        finally:
            writer.close()


def stored_factors(
    adapter: Adapter, weight: UpdatedWeight, model: LanguageModel, alpha: float
) -> tuple[Tensor, Tensor]:
    """Read A and B of one weight as llama.cpp stores them, float32.

    Their product times alpha / rank is the update. Experts without one have zeros.
    """
    A, B = (torch.zeros(shape) for shape in weight.shapes)
    for number, module in weight.modules.items():
        left, right = module.A.read(), module.B.read()
        scale = module.scaling * weight.rank / alpha
        right = right if scale == 1 else right * scale
        right = model.reorder(right, module.name.rpartition(".")[2])
        left = left.T if module.part is Part.EMBEDDING_A else left
        if weight.experts:
            A[number, : module.rank], B[number, :, : module.rank] = left, right
        else:
            A.copy_(left)
            B.copy_(right)
    return A, B


def _size(shape: tuple[int, ...]) -> int:
    return math.prod(shape) * _FLOAT32
