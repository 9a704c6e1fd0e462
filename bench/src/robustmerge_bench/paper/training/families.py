"""Modules of a model that are adapted or fully trained; all others are frozen.

A LoRA is on every linear layer of the language model except its head. Layers of the vision tower
have the same names in many families, and are excluded by pattern. The fully trained projector,
between tower and language model, has another name in every family (`robustmerge.families`).

A parameter outside modules (image_newline) and the vision tower are frozen.
"""

from __future__ import annotations

from torch import nn

from robustmerge.adapter import layout
from robustmerge.errors import MergeError, few
from robustmerge.families import BY_NAME


def language_layers(model: nn.Module) -> list[str]:
    """Return the names of the language model's linear layers, without its head."""
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and layout.tower(layout.canonical(name)) == "language"
        and name.rpartition(".")[2] != "lm_head"
    ]
    if not names:
        raise MergeError(
            f"no linear layers of a language model in a {type(model).__name__}",
            where="--base",
            hint=f"known are {', '.join(BY_NAME)}",
        )
    return names


def last_parts(names: list[str]) -> list[str]:
    """Return the last parts of names, each once: target modules as PEFT and servers take them."""
    return sorted({name.rpartition(".")[2] for name in names})


def projector_modules(model: nn.Module, family: str) -> list[str]:
    """Return PEFT's `modules_to_save` for a fully trained projector.

    The family is the model's name in transformers.
    """
    if family not in BY_NAME:
        raise MergeError(
            f"the projector of a model of family {family!r} is unknown",
            where="--base",
            hint=f"--projector frozen, or a model of {', '.join(BY_NAME)}",
        )
    modules = dict(model.named_modules())
    names: list[str] = []
    for entry in BY_NAME[family].projector:
        path = next((name for name in modules if name.endswith(f".{entry}")), None)
        if path is None:
            raise MergeError(
                f"a {type(model).__name__} without {entry}",
                where="--base",
                hint="--projector frozen trains the language model alone",
            )
        module = modules[path]
        # PEFT wraps modules that are called, which a list is not.
        is_list = isinstance(module, nn.ModuleList)
        names += [f"{entry}.{n}" for n in range(len(module))] if is_list else [entry]
    return names


def check_lora_layers(expected: list[str], actual: list[str]) -> None:
    """Check that a LoRA is on the layers that it should be on, and on no others."""
    missing, more = set(expected) - set(actual), set(actual) - set(expected)
    if missing or more:
        raise MergeError(
            f"a LoRA on {len(actual)} layers, which should be on {len(expected)}",
            where="\n".join(
                f"{problem}: {few(sorted(names))}"
                for problem, names in (("without", missing), ("too many", more))
                if names
            ),
            hint="the model's names of layers are those of no known family",
        )
