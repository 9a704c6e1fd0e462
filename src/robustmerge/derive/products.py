r"""Kinds whose change is a structured product of their own tensors: exact factors B A.

    AdaLoRA   alpha / (r + 1e-5) · P diag(E) Q                   rank: that of E's entries ≠ 0
    LoHa      alpha / r · (W1a W1b) ∘ (W2a W2b)                  rank: r², by row-wise products
    LoKr      alpha / r · W1 ⊗ W2, each a matrix or a product    rank: product of both ranks
    GraLoRA   alpha / (r + h) · blocks of A and B, crossed       rank: r · k + h
    VeRA      diag(b) B diag(d) A, with A and B shared           rank: r
    MiSS      every r-th input is summed, then a matrix          rank: r

Ranks of structured products are upper bounds; `--rank` cuts them to what they are. PEFT divides
AdaLoRA's product by the rank it began with plus 1e-5, also where ranks were reduced since.

Sources: arXiv 2303.10512, 2108.06098 (LoHa), LyCORIS 2309.14859 (LoKr), 2505.20355, 2310.11454,
2409.15371; each against PEFT 0.21's layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..factors import Factors
from .kinds import BAKE, KindModule, kind

_PATTERNS = ("alpha", "rank_pattern", "alpha_pattern", "rank_dropout", "module_dropout")


@kind(
    "ADALORA",
    *("lora_A", "lora_B", "lora_E"),
    settings=(
        *("lora_alpha", "lora_dropout", "init_lora_weights", "rank_pattern", "target_r", "init_r"),
        *("tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"),
        *("loftq_config", "runtime_config", "qalora_group_size", "megatron_core"),
    ),
)
def adalora(module: KindModule) -> Factors:
    """Fold singular values and scaling into B; directions that were pruned are left out."""
    E = module.tensors["lora_E"].flatten()  # [r]
    kept = E != 0
    alpha, start = module.config.alpha, module.settings.get("init_r", 12)
    scaling = (alpha if alpha > 0 else float(len(E))) / (start + 1e-5)
    B = module.tensors["lora_B"][:, kept] * E[kept] * scaling
    return Factors(module.tensors["lora_A"][kept], B)


@kind("LOHA", *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), settings=_PATTERNS)
def loha(module: KindModule) -> Factors:
    """Expand the Hadamard product: row o of B is the outer product of both rows o."""
    w1a, w1b, w2a, w2b = (module.tensors[f"hada_{n}"] for n in ("w1_a", "w1_b", "w2_a", "w2_b"))
    rank = w1b.shape[0]
    module.check_rank(rank)
    B = torch.einsum("op,oq->opq", w1a, w2a).flatten(1)  # [d_out, rank·rank]
    A = torch.einsum("pi,qi->pqi", w1b, w2b).flatten(0, 1)  # [rank·rank, d_in]
    return Factors(A, B * module.config.scaling(module.written, rank))


@kind(
    "LOKR",
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"),
    settings=(*_PATTERNS, "decompose_both", "decompose_factor", "rank_dropout_scale"),
)
def lokr(module: KindModule) -> Factors:
    """Multiply left factors with left ones and right ones with right ones: (B1⊗B2)(A1⊗A2)."""
    (B1, A1), (B2, A2) = _pair(module, "lokr_w1"), _pair(module, "lokr_w2")
    rank = module.config.rank_of(module.written)
    scaling = module.config.scaling(module.written, rank)
    return Factors(torch.kron(A1, A2), torch.kron(B1, B2) * scaling)


def _pair(module: KindModule, name: str) -> tuple[Tensor, Tensor]:
    """Return a factor of LoKr as a product B A; a matrix goes with the identity."""
    if f"{name}_a" in module.tensors:
        module.check_rank(module.tensors[f"{name}_a"].shape[1])
        return module.tensors[f"{name}_a"], module.tensors[f"{name}_b"]
    matrix = module.tensors[name]
    d_out, d_in = matrix.shape
    if d_in <= d_out:
        return matrix, torch.eye(d_in, dtype=matrix.dtype)
    return torch.eye(d_out, dtype=matrix.dtype), matrix


@kind(
    "GRALORA",
    *("gralora_A", "gralora_B", "gralora_A_general", "gralora_B_general"),
    settings=("alpha", "hybrid_r", "gralora_k", "gralora_dropout"),
)
def gralora(module: KindModule) -> Factors:
    """Put the blocks where they act: direction (n, j, s) leads from inputs n to outputs j."""
    blocks_in = module.tensors["gralora_A"]  # [k, d_in/k, rank]
    blocks_out = module.tensors["gralora_B"]  # [k, rank, d_out/k]
    k, width, rank = blocks_in.shape
    hybrid = _hybrid_rank(module, k, rank)
    height, part = blocks_out.shape[2], rank // k
    A = blocks_in.new_zeros(k, k, part, k, width)  # [n, j, s, block, input]
    B = blocks_in.new_zeros(k, height, k, k, part)  # [block, output, n, j, s]
    for n in range(k):
        A[n, :, :, n] = blocks_in[n].mT.view(k, part, width)
    for j in range(k):
        # B's rank index is (n, s) where A's is (j, s): the parts change places in between.
        B[j, :, :, j] = blocks_out[j].mT.view(height, k, part)
    A, B = A.reshape(k * rank, k * width), B.reshape(k * height, k * rank)
    if hybrid:
        A = torch.cat([A, module.tensors["gralora_A_general"]])
        B = torch.cat([B, module.tensors["gralora_B_general"]], 1)
    return Factors(A, B * (module.config.alpha / (rank + hybrid)))


def _hybrid_rank(module: KindModule, k: int, rank: int) -> int:
    """Return the rank of GraLoRA's part without blocks, and check settings against the tensors.

    Raises:
        MergeError: the settings have other ranks, or another number of blocks.
    """
    module.check_rank(rank)
    if k != module.settings.get("gralora_k", 2):
        raise module.refuse(
            f"{k} blocks in the tensors, and gralora_k = {module.settings.get('gralora_k')!r} in "
            "the settings",
            "the settings belong to another adapter; find the right file, or correct gralora_k",
        )
    general = module.tensors.get("gralora_A_general")
    held = 0 if general is None else len(general)
    hybrid = module.settings.get("hybrid_r") or 0
    if hybrid != held:
        raise module.refuse(
            f"hybrid_r = {hybrid!r} in the settings, and another rank in the tensors",
            "the settings belong to another adapter; find the right file, or correct hybrid_r",
        )
    return held


@kind(
    "VERA",
    *("vera_lambda_b", "vera_lambda_d"),
    needs="shapes",
    settings=("vera_dropout", "d_initial", "projection_prng_key", "save_projection"),
    shared=("vera_A", "vera_B"),
)
def vera(module: KindModule) -> Factors:
    """Cut the shared matrices to the module's size and fold both vectors in."""
    if not module.shared:
        raise module.refuse(
            "the shared matrices are not in the file (save_projection = false), and a generator of "
            "random numbers is no file",
            f"save the adapter with save_projection=true; or {BAKE}",
        )
    assert module.base_shape is not None
    d_out, d_in = module.base_shape
    b, d = module.tensors["vera_lambda_b"], module.tensors["vera_lambda_d"]
    A, B = module.shared["vera_A"][:, :d_in], module.shared["vera_B"][:d_out]
    return Factors(d[:, None] * A, b[:, None] * B)


@kind("MISS", "miss_block", needs="shapes", settings=("miss_dropout", "mini_r"))
def miss(module: KindModule) -> Factors:
    """Sum every r-th input, the last block filled up with zeros, and multiply by the block."""
    block = module.tensors["miss_block"]
    if module.settings.get("init_weights") == "bat":
        raise module.refuse("MiSS's 'bat' multiplies the base's blocks, which is no sum", BAKE)
    module.check_rank(len(block))
    assert module.base_shape is not None
    d_out, d_in = module.base_shape
    if module.settings.get("init_weights") == "mini":
        block = block.repeat(1, d_out // block.shape[1])
    rank = len(block)
    A = torch.eye(rank, dtype=block.dtype).repeat(1, -(-d_in // rank))[:, :d_in]
    return Factors(A, block.mT.contiguous())
