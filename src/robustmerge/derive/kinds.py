"""Kinds of PEFT adapters whose change of a linear layer is known from files: the registry.

A kind is a function from one module's tensors to its change of the weight. `Factors` where the
change is a low-rank or structured product, which is then written exactly; `Dense` where it depends
on the base's weight, which a rank has to be chosen for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from ..adapter.config import AdapterConfig
from ..errors import MergeError, enough_memory, few
from ..factors import Dense, Factors

Needs = Literal["nothing", "shapes", "weights"]
"""What of the base model a change is determined by, apart from the adapter's own files."""


Change = Callable[["KindModule"], "Factors | Dense"]
_FETCH = "the file is incomplete or damaged; save or fetch the adapter again"


@dataclass(frozen=True)
class KindModule:
    """One module of an adapter of any kind.

    Attributes:
        written: Its name in the file.
        tensors: Its tensors by the parameter's name, float64.
        shared: Tensors of the whole adapter, likewise.
        config: Its settings, of which scalings and ranks of patterns follow.
        base: Reads the base's weight [d_out d_in], float64.
        base_shape: The weight's shape, None without a base.
        base_bias: Whether the base's layer has a bias.
        initial: The product that the adapter started from, where a folder with it is given.
    """

    written: str
    tensors: Mapping[str, Tensor]
    shared: Mapping[str, Tensor]
    config: AdapterConfig
    base: Callable[[], Tensor]
    base_shape: tuple[int, int] | None
    base_bias: bool = False
    initial: Factors | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The adapter's settings as they are in the file."""
        return self.config.raw

    def check_rank(self, held: int) -> None:
        """Check that the settings have the rank of the tensors: scalings follow from it.

        Raises:
            MergeError: they have another one.
        """
        named = self.config.rank_of(self.written)
        if held != named:
            raise self.refuse(
                f"rank {held} in the tensors and {named} in the settings, so that the scaling is "
                "unknown",
                "the settings belong to another adapter; find the right file, or correct r and "
                "rank_pattern",
            )

    def changed(self, change: Change) -> Factors | Dense:
        """Return what a kind's function makes of the module.

        Raises:
            MergeError: a tensor is missing, shapes do not go together, or a value is not finite.
        """
        try:
            with enough_memory(self.written):
                made = change(self)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            raise
        except KeyError as error:
            raise self.refuse(f"{error.args[0]} is missing in the file", _FETCH) from None
        except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError):
            raise self.refuse(
                f"shapes that do not go together, or settings of another kind: {self._shapes()}",
                "the file is damaged, or the settings belong to another adapter; find the right "
                "file",
            ) from None
        parts = (made.A, made.B) if isinstance(made, Factors) else (made.delta,)
        matrices = all(part.ndim == 2 for part in parts)
        if not matrices or (len(parts) == 2 and len(parts[0]) != parts[1].shape[1]):
            raise self.refuse(f"shapes that do not go together: {self._shapes()}", _FETCH)
        if not all(part.isfinite().all() for part in parts):
            raise self.refuse(
                "an update that is not finite, from values or settings too large for numbers",
                "the training run diverged, or alpha is wrong; use another checkpoint",
            )
        return made

    def _shapes(self) -> str:
        return few([f"{name} {list(tensor.shape)}" for name, tensor in self.tensors.items()], 6)

    def refuse(self, problem: str, hint: str) -> MergeError:
        """Return the error about this module."""
        return MergeError(problem, where=f"{self.config.path}\n{self.written}", hint=hint)


@dataclass(frozen=True)
class Kind:
    """One kind of adapter.

    Attributes:
        name: What PEFT calls it.
        parameters: The names of a module's tensors.
        change: Returns a module's change of its weight.
        needs: What of the base it is determined by.
        settings: Settings beyond those that every kind has, all of which `change` knows.
        shared: Names of the tensors that all modules share.
    """

    name: str
    parameters: tuple[str, ...]
    change: Change
    needs: Needs = "nothing"
    settings: frozenset[str] = field(default_factory=frozenset)
    shared: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {}
"""All kinds that can be converted, by PEFT's name."""

COMMON = frozenset(
    {
        *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
        *("revision", "inference_mode", "target_modules", "exclude_modules", "modules_to_save"),
        *("layers_to_transform", "layers_pattern", "r", "bias", "fan_in_fan_out", "init_weights"),
    }
)
"""Settings of every kind, and those of the start of the training."""

BAKE = (
    "bake the adapter into the base with PEFT's merge_and_unload, save that model, and "
    "`robustmerge extract` makes a LoRA of it"
)

WITHOUT_UPDATE = frozenset(
    {
        *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT"),
        *("ADAPTION_PROMPT", "CARTRIDGE"),
    }
)
"""Kinds that put tokens before the input and change no weight."""

_ROTATES = "multiplies the base's weight by a matrix, which is no sum"
_DRAWS = "has positions drawn by a generator of random numbers, which is no file"
_ENTRIES = "changes single entries, whose positions are integers in the file"
_ROUTES = "weighs its parts by the input, so that no one update is added"
NO_SUM: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("OFT", "BOFT", "HRA", "ROAD"), _ROTATES),
        **dict.fromkeys(("FOURIERFT", "WAVEFT", "UNILORA"), _DRAWS),
        **dict.fromkeys(("XLORA", "POLY", "LILY"), _ROUTES),
        **dict.fromkeys(("SHIRA", "SUPERTUNING"), _ENTRIES),
        "ADAMSS": "changes biases together with weights, which no LoRA does",
        "FROD": "replaces the base's weight by another one of full rank",
        "GLORA": "scales and shifts weights, biases and inputs together",
        "OSF": "trains singular directions of the base, whose first values are in no file",
        "PEANUT": "puts the base's weight through a network",
        "PSOFT": "turns singular directions of the base, whose signs are in no file",
        "SHADOW": "runs a network next to the base",
        "TINYLORA": "has vectors whose modules follow from the order in the model, in no file",
        "LN_TUNING": "trains norms, whose weights are no matrices",
        "BEFT": "trains biases, which no LoRA changes",
        "TRAINABLE_TOKENS": "trains rows of the embeddings, which no LoRA changes",
    }
)
"""Why a kind is not converted."""


def kind(
    name: str,
    *parameters: str,
    needs: Needs = "nothing",
    settings: tuple[str, ...] = (),
    shared: tuple[str, ...] = (),
) -> Callable[[Change], Change]:
    """Register the function that returns a module's change."""

    def register(change: Change) -> Change:
        KINDS[name] = Kind(name, parameters, change, needs, frozenset(settings) | COMMON, shared)
        return change

    return register


def find_kind(config: AdapterConfig) -> Kind:
    """Return the kind that the settings name.

    Raises:
        MergeError: a kind that is no sum of low-rank updates, or settings that are not known.
    """
    name = str(config.raw.get("peft_type") or "LORA").upper()
    if name in WITHOUT_UPDATE:
        raise MergeError(
            f"{name} puts tokens before the input and changes no weight, so there is no update",
            where=str(config.path),
            hint="serve it by itself with PEFT; to merge it, train a LoRA on the same data",
        )
    if name not in KINDS:
        raise MergeError(
            f"{name} {NO_SUM.get(name, 'changes weights by a rule whose sum is not read here')}",
            where=str(config.path),
            hint=f"{BAKE}; known: {', '.join(sorted(KINDS))}",
        )
    found_kind = KINDS[name]
    odd = sorted(k for k, v in config.raw.items() if v and k not in found_kind.settings)
    if odd:
        raise MergeError(
            f"setting {odd[0]} = {config.raw[odd[0]]!r:.80} may change what the adapter computes",
            where=str(config.path),
            hint=BAKE,
        )
    for setting, plain in (("fan_in_fan_out", False), ("bias", "none")):
        if (value := config.raw.get(setting) or plain) != plain:
            raise MergeError(
                f"{setting} = {value!r} is not converted", where=str(config.path), hint=BAKE
            )
    return found_kind
