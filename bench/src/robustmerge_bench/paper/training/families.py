"""What of a model is adapted, what is trained whole, and what stays as it is.

A LoRA is on every linear layer of the language model but its head; layers of the vision tower bear
the same names in many families, and are excluded by pattern. What lies between tower and language
model, and is trained whole, has another name in every family (`robustmerge.families`).

A parameter that is no module (image_newline) and the vision tower are frozen.
"""

from __future__ import annotations

from torch import nn

from robustmerge.adapter import layout
from robustmerge.errors import MergeError, few
from robustmerge.families import BY_NAME


def adapted(model: nn.Module) -> list[str]:
    """Names of the linear layers of the language model, without its head.

    Raises:
        MergeError: There are none.
    """
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and layout.tower(layout.canonical(name)) == "language"
        and name.rpartition(".")[2] != "lm_head"
    ]
    if not found:
        raise MergeError(
            f"no linear layers of a language model in a {type(model).__name__}",
            where="--base",
            hint=f"known are {', '.join(BY_NAME)}",
        )
    return found


def leaves(names: list[str]) -> list[str]:
    """The last parts of names, each once: what PEFT and servers want as target modules."""
    return sorted({name.rpartition(".")[2] for name in names})


def connectors(model: nn.Module, family: str) -> list[str]:
    """What PEFT's `modules_to_save` must name for the projector to be trained whole.

    Args:
        model: The base.
        family: Its name in transformers.

    Raises:
        MergeError: The family is not known, or has not what it should have.
    """
    if family not in BY_NAME:
        raise MergeError(
            f"no telling which part of a model of family {family!r} is the projector",
            where="--base",
            hint=f"--projector frozen, or a model of {', '.join(BY_NAME)}",
        )
    modules = dict(model.named_modules())
    found: list[str] = []
    for entry in BY_NAME[family].projector:
        place = next((name for name in modules if name.endswith(f".{entry}")), None)
        if place is None:
            raise MergeError(
                f"a {type(model).__name__} without {entry}",
                where="--base",
                hint="--projector frozen trains the language model alone",
            )
        module = modules[place]
        # PEFT wraps modules that are called, which a list is not.
        many = isinstance(module, nn.ModuleList)
        found += [f"{entry}.{n}" for n in range(len(module))] if many else [entry]
    return found


def check_adapted(wanted: list[str], found: list[str]) -> None:
    """Check that a LoRA is where it should be and nowhere else.

    Raises:
        MergeError: It is not.
    """
    lacking, more = set(wanted) - set(found), set(found) - set(wanted)
    if lacking or more:
        raise MergeError(
            f"a LoRA on {len(found)} layers, which should be on {len(wanted)}",
            where="\n".join(
                f"{what}: {few(sorted(names))}"
                for what, names in (("without", lacking), ("too many", more))
                if names
            ),
            hint="this model names its layers as no family that is known",
        )
