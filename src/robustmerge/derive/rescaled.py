r"""Kinds whose change depends on the base's weight W.

    PiSSA, OLoRA, …   s (B A - B0 A0)                  exact, rank 2 r; W lost B0 A0 at first
    DoRA              m ∘ (W + s B A) / ‖W + s B A‖ - W   by rows; of full rank
    IA3               W ∘ (l - 1), by rows or columns      of full rank
    HiRA              W ∘ (B A)                            of full rank
    DEFT              Q (s R - P^T W)                      exact, rank r

PiSSA's B0 A0 is the best approximation of W at rank r, OLoRA's the first r columns of Q times the
first r rows of R in W = Q R. Either follows from W, and is read where the adapter as it was before
training is given. CorDA's and LoRA-GA's depend on samples, too, so that they do not follow from W.
DEFT's Q is P and its P cut to what is positive; or both are an orthonormal basis of P's columns.
A change of full rank is cut to the directions that `--rank` asks for.

Sources: arXiv 2404.02948 (PiSSA), 2406.01775 (OLoRA), 2402.09353 (DoRA), 2205.05638 (IA3), HiRA
(ICLR 2025); each against PEFT 0.21's layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..factors import Dense, Factors
from .dense import decompose_exactly
from .kinds import BAKE, KindModule, kind
from .ranks import Number

_FROM_INITIAL = ("pissa", "olora", "corda", "lora_ga")
"""Starts that take s B0 A0 out of the base's weight."""


@kind(
    "LORA",
    *("lora_A", "lora_B", "lora_magnitude_vector"),
    needs="weights",
    settings=(
        *("lora_alpha", "lora_dropout", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"),
        *("init_lora_weights", "loftq_config", "runtime_config", "corda_config", "lora_ga_config"),
        *("eva_config", "megatron_core", "qalora_group_size"),
    ),
)
def residual_lora(module: KindModule) -> Factors | Dense:
    """Return what a LoRA with a start of its own, or DoRA, adds to the original weight."""
    A, B = module.tensors["lora_A"], module.tensors["lora_B"]
    module.check_rank(len(A))
    scaling = module.config.scaling(module.written, len(A))
    start = str(module.settings.get("init_lora_weights")).lower()
    residual = start.startswith(_FROM_INITIAL)
    if residual and not module.config.dora:
        A0, B0 = _initial(module, start, len(A))
        return Factors(torch.cat([A, A0]), torch.cat([B * scaling, -B0], 1))
    if residual or start.startswith("loftq"):
        raise module.refuse(f"init_lora_weights = {start!r} of a base that is not W", BAKE)
    if not module.config.dora:
        raise module.refuse(
            "this is plain LoRA already", "merge it as it is; `robustmerge resize` changes its rank"
        )
    W = module.base()
    updated = W + scaling * (B @ A)
    lengths = module.tensors["lora_magnitude_vector"].flatten() / updated.norm(dim=1)  # [d_out]
    return Dense(updated * lengths[:, None] - W)


def _initial(module: KindModule, start: str, rank: int) -> tuple[Tensor, Tensor]:
    """Return A0 and s B0, whose product the base's weight lost when the training began."""
    if module.initial is not None:
        return module.initial.A.double(), module.initial.B.double()
    if start == "pissa":
        factors, _ = decompose_exactly(module.base(), Number(rank))[0].cut(rank)
        return factors.A, factors.B
    if start == "olora":
        Q, R = torch.linalg.qr(module.base())
        scaling = module.config.scaling(module.written, rank)
        return R[:rank], scaling * Q[:, :rank]
    raise module.refuse(
        f"init_lora_weights = {start!r} does not follow from the base",
        "--initial names the folder of the adapter as it was before training",
    )


@kind(
    "IA3",
    "ia3_l",
    needs="weights",
    settings=("feedforward_modules", "init_ia3_weights"),
)
def ia3(module: KindModule) -> Dense:
    """Scale the columns of a feed-forward layer [1 d_in], or the rows of another [d_out 1]."""
    scales = module.tensors["ia3_l"]
    if module.base_bias and scales.shape[1] == 1:
        raise module.refuse("IA3 scales this layer's bias, too, which no LoRA changes", BAKE)
    return Dense(module.base() * (scales - 1))


@kind(
    "HIRA",
    *("hira_A", "hira_B"),
    needs="weights",
    settings=("hira_dropout", "rank_pattern"),
)
def hira(module: KindModule) -> Dense:
    """Multiply the weight entry by entry with the product."""
    return Dense(module.base() * (module.tensors["hira_B"] @ module.tensors["hira_A"]))


@kind(
    "DEFT",
    *("deft_P", "deft_R"),
    needs="weights",
    settings=("alpha", "decomposition_method", "para", "init_scale", "deft_dropout"),
)
def deft(module: KindModule) -> Factors:
    """Take what P shows of the weight out, and add R in its place."""
    P = module.tensors["deft_P"]  # [d_out, rank]
    positive = module.settings.get("decomposition_method", "relu") == "relu"
    Q = P if positive else torch.linalg.qr(P).Q
    shown = (P.relu() if positive else Q).T @ module.base()  # [rank, d_in]
    if module.settings.get("para"):
        return Factors(shown, -Q)
    alpha = module.settings.get("alpha")
    scaling = float(alpha) / P.shape[1] if alpha else 1.0
    return Factors(scaling * module.tensors["deft_R"] - shown, Q)
