r"""Kinds with normed directions, or with matrices and vectors that modules share.

    DeLoRA     λ / r · Σ_i b_i a_iᵀ / (‖b_i‖ ‖a_i‖), columns scaled by the base's norms   rank: r
    RandLoRA   alpha / r · Σ_j B_j diag(λ_j) A diag(γ_j), B and A shared                  full rank
    PVeRA      diag(b) B diag(d) A at its mean, which is the first half of d and A        rank: r
    VB-LoRA    B A, tiled from a shared bank, softmax-weighted over its top k vectors     rank: r
    C3A        blocks that are circulant: W[p, q] = w[(q - p) mod b] / d_in               full rank

RandLoRA's A acts on the smaller of a layer's two sides. The norms in DeLoRA are at least 1e-4.

Sources: arXiv 2503.18225, 2502.00987, 2512.07703, 2405.15179, 2407.19342; each against PEFT 0.21's
layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..factors import Dense, Factors
from .kinds import BAKE, KindModule, kind

_LEAST_NORM = 1e-4


@kind(
    "DELORA",
    *("delora_A", "delora_B", "delora_lambda", "delora_w_norm"),
    settings=("delora_lambda", "module_dropout", "rank_pattern", "lambda_pattern"),
)
def delora(module: KindModule) -> Factors:
    """Divide by the norms of rows and columns, and scale inputs by the norms of the base."""
    A, B = module.tensors["delora_A"], module.tensors["delora_B"]
    module.check_rank(len(A))
    norms = A.norm(dim=1).clamp(min=_LEAST_NORM) * B.norm(dim=0).clamp(min=_LEAST_NORM)
    scales = module.tensors["delora_lambda"] / len(A) / norms  # [r]
    return Factors(A * module.tensors["delora_w_norm"], B * scales)


@kind(
    "RANDLORA",
    *("randlora_lambda", "randlora_gamma", "randlora_A", "randlora_B"),
    needs="shapes",
    settings=(
        *("randlora_alpha", "randlora_dropout", "projection_prng_key", "save_projection"),
        *("sparse", "very_sparse"),
    ),
    shared=("randlora_A", "randlora_B"),
)
def randlora(module: KindModule) -> Factors:
    """Cut the shared matrices to the module's size and fold both scales into the smaller one."""
    shared_A, shared_B = _shared(module, "randlora_A"), _shared(module, "randlora_B")
    scales, weights = module.tensors["randlora_lambda"], module.tensors["randlora_gamma"]
    assert module.base_shape is not None
    d_out, d_in = module.base_shape
    small, large = sorted((d_out, d_in))
    module.check_rank(len(scales))
    bases = scales.shape[1]
    A = scales[:, :, None] * shared_A[:, :, :small] * weights  # [r, bases, small]
    B = shared_B[:large, :bases].flatten(1)  # [large, bases · r]
    scaling = module.settings.get("randlora_alpha", 640) / len(scales)
    # PEFT flattens A by the rank first and B by the bases first, and so it is here.
    A = A.flatten(0, 1)  # [r · bases, small]
    return Factors(A, B * scaling) if small == d_in else Factors(B.mT, A.mT * scaling)


@kind(
    "PVERA",
    *("pvera_lambda_b", "pvera_lambda_d"),
    needs="shapes",
    settings=(
        *("pvera_dropout", "d_initial", "projection_prng_key", "save_projection"),
        "generator_seed",
    ),
    shared=("pvera_A", "pvera_B"),
)
def pvera(module: KindModule) -> Factors:
    """Return the update at its mean, which PEFT computes outside of training."""
    assert module.base_shape is not None
    d_out, d_in = module.base_shape
    b, d = module.tensors["pvera_lambda_b"], module.tensors["pvera_lambda_d"]
    half = len(d) // 2
    A, B = _shared(module, "pvera_A")[:half, :d_in], _shared(module, "pvera_B")[:d_out]
    return Factors(d[:half, None] * A, b[:, None] * B)


def _shared(module: KindModule, name: str) -> Tensor:
    if name not in module.shared:
        raise module.refuse(
            f"the shared matrix {name} is not in the file (save_projection = false), and a "
            "generator of random numbers is no file",
            f"save the adapter with save_projection=true; or {BAKE}",
        )
    return module.shared[name]


@kind(
    "VBLORA",
    *("vblora_logits_A", "vblora_logits_B"),
    settings=(
        *("num_vectors", "vector_length", "topk", "vblora_dropout"),
        *("init_vector_bank_bound", "init_logits_std"),
    ),
    shared=("vblora_vector_bank",),
)
def vblora(module: KindModule) -> Factors:
    """Put the tiles of A side by side, and those of B below one another."""
    A = _tiles(module, "vblora_logits_A").flatten(1)  # [r, tiles · length]
    B = _tiles(module, "vblora_logits_B").mT.flatten(0, 1)  # [tiles · length, r]
    return Factors(A, B)


def _tiles(module: KindModule, name: str) -> Tensor:
    """Return the vectors [… length] that logits [… vectors] choose."""
    logits, indices = module.tensors[name].topk(module.settings.get("topk", 2), dim=-1)
    chosen = module.shared["vblora_vector_bank"][indices]  # [… k, length]
    return (logits.softmax(-1)[..., None] * chosen).sum(-2)


@kind("C3A", "c3a_kernel", settings=("block_size", "block_size_pattern"))
def c3a(module: KindModule) -> Dense:
    """Write every block out."""
    kernel = module.tensors["c3a_kernel"]  # [blocks out, blocks in, b]
    tall, wide, size = kernel.shape
    steps = torch.arange(size)
    blocks = kernel[:, :, (steps[None, :] - steps[:, None]) % size]  # [out, in, b, b]
    return Dense(blocks.transpose(1, 2).reshape(tall * size, wide * size) / (wide * size))
