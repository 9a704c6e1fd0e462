"""Situations in which the layout of experts, and what has it, gives advice."""

from __future__ import annotations

from pathlib import Path

import robustmerge
from factories.bases import lines, llama
from factories.experts import FAMILIES, seeded, targets, trained
from field.following import situation


def fused(family: str, folder: str, seed: int = 1) -> None:
    """A base, and an adapter on its fused experts."""
    build = FAMILIES[family][0]
    settings = {"target_parameters": targets("mlp"), "task_type": "CAUSAL_LM"}
    trained(build, Path(folder), seed, **settings)
    if not Path("base").exists():
        seeded(build).save_pretrained("base")


CHECK = "--base base --for vllm"


@situation("robustmerge convert ADAPTER -o OUT --layout projections --base MODEL")
def experts_that_vllm_takes_one_by_one() -> tuple[str, ...]:
    fused("Qwen3-MoE", "a")
    convert = "convert a -o out --layout projections --base base"
    return f"check a {CHECK}", f"{convert} && check out {CHECK}"


@situation("robustmerge convert ADAPTER -o OUT --layout fused --base MODEL")
def experts_that_vllm_takes_fused() -> tuple[str, ...]:
    fused("gpt-oss", "made")
    robustmerge.convert("made", "a", layout="projections", base="base")
    convert = "convert a -o out --layout fused --base base"
    return f"check a {CHECK}", f"{convert} && check out {CHECK}"


@situation(", of which headers alone are read")
def experts_whose_gates_are_not_in_the_file() -> tuple[str, ...]:
    fused("Qwen3-MoE", "a")
    convert = "convert a -o out --layout projections"
    return convert, f"{convert} --base base"


@situation("writes one module for every expert, which SGLang takes")
def experts_that_share_no_side() -> tuple[str, ...]:
    fused("Qwen3-MoE", "a")
    convert = "convert a -o out --base base --layout"
    return f"{convert} sglang-shared", f"{convert} sglang"


@situation("merge without --polish")
def experts_that_are_not_polished() -> tuple[str, ...]:
    fused("Qwen3-MoE", "a")
    fused("Qwen3-MoE", "b", 2)
    llama(Path("text"))
    lines(Path("s"), [{"text": "w5 w6 w7"}])
    merge = "merge a b -o m -m task-arithmetic"
    return f"{merge} --polish 3 --base base --samples s s", merge
