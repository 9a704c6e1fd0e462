"""adapter_config.json: the scaling of every module, and what cannot be merged as plain LoRA."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MergeError, few, shown
from ..escape import has_control
from ..files import read_json
from .patterns import matches
from .wrappers import unwrap_pattern

FILE = "adapter_config.json"
NO_SETTINGS = "an adapter folder has one next to its weights"
"""The hint of an error about a folder without settings."""
_LARGEST = 1e38  # about the largest value of float32

_IN_PEFT = "PEFT bakes it into the base: PeftModel.from_pretrained(base, FOLDER).merge_and_unload()"
_ONLY_PEFT = "serve it by itself with PEFT, or train plain LoRA"

# Settings that change what the adapter computes without any tensor that shows it.
_REFUSED: Mapping[str, str] = {
    "use_dora": "DoRA also rescales the base weight's rows, which no sum of LoRA updates does; "
    "--dora mean merges the updates and averages the scales, or train without use_dora",
    "lora_bias": f"the bias of lora_B has no place in a plain LoRA; {_IN_PEFT}",
    "use_qalora": f"QALoRA pools the layer's input; {_ONLY_PEFT}",
    "use_qa_lora": "QA-LoRA pools the layer's input; serve it with ms-swift, or train plain LoRA",
    "use_merged_linear": "its factors are those of fused layers, some of them off; write it as "
    "plain LoRA with the trainer's own export",
    "alora_invocation_tokens": f"an activated LoRA acts on some tokens only; {_ONLY_PEFT}",
    "layer_replication": "the adapter was trained on a model with replicated layers; save that "
    f"model as a base of its own: {_IN_PEFT}",
    "use_bdlora": f"block-diagonal LoRA is not supported; {_ONLY_PEFT}",
    "arrow_config": "Arrow routes between adapters at inference; merge the experts themselves",
    "kasa_config": f"KaSA changes the base weights; {_ONLY_PEFT}",
    "monteclora_config": f"MonteCLoRA samples its factors; {_ONLY_PEFT}",
    "megatron_config": "Megatron adapters split tensors over ranks; export to plain PEFT first",
}

_PLAIN = frozenset(
    {
        *("peft_type", "task_type", "auto_mapping", "peft_version", "runtime_config"),
        *("base_model_name_or_path", "revision", "inference_mode", "fan_in_fan_out", "bias"),
        *("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        "target_parameters",
        *("modules_to_save", "trainable_token_indices", "ensure_weight_tying"),
        *("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
        *("velora_config", "qalora_group_size", "megatron_core", "enable_lora", "merge_weights"),
    }
)
"""Settings that leave the forward pass a plain LoRA's, or that are read here."""

_OF_TRAINERS = frozenset(
    {
        # ms-swift's LoRAConfig: LoRA+'s rates belong to the optimizer, the others to its own files.
        *("lorap_lr_ratio", "lorap_emb_lr", "lr_ratio", "swift_type", "lora_dtype"),
        *("model_key_mapping", "loraplus_lr_ratio", "loraplus_lr_embedding"),
    }
)
"""Settings of trainers that end with the training run."""

_TASKS = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
"""Values of `task_type` that PEFT 0.21 loads; at any other it raises an error."""

_STARTS = ("gaussian", "orthogonal", "eva")
"""Initializations that leave the base weights as they are."""
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that replace the base weights by a residual."""


@dataclass(frozen=True)
class AdapterConfig:
    """The settings of one adapter.

    Attributes:
        path: The file they were read from.
        raw: The file's content.
    """

    path: Path
    raw: Mapping[str, Any]

    @classmethod
    def read(
        cls,
        folder: Path,
        *,
        dora: bool = False,
        accepted: Collection[str] = (),
        untrained: bool = False,
    ) -> AdapterConfig:
        """Read the settings of an adapter folder; those of DoRA if asked for.

        Args:
            folder: The adapter.
            dora: Accept a DoRA adapter, too.
            accepted: Unknown settings that the user says change nothing.
            untrained: Accept an adapter whose start changes the base's weights.

        Raises:
            MergeError: the file is missing or not JSON, or has settings that no plain LoRA has.
        """
        path = folder / FILE
        raw = read_json(path, if_missing=NO_SETTINGS, strict=True)
        return cls.of(raw, path, dora=dora, accepted=accepted, untrained=untrained)

    @classmethod
    def of(
        cls,
        raw: Mapping[str, Any],
        path: Path,
        *,
        dora: bool = False,
        accepted: Collection[str] = (),
        untrained: bool = False,
    ) -> AdapterConfig:
        """Check settings that were read already; `path` says where, in errors.

        Raises:
            MergeError: the settings are not those of a plain LoRA.
        """
        check_printable(raw, path)
        config = cls(path, raw)
        config._refuse(allowed="use_dora" if dora else "")
        if not untrained:
            config._refuse_start(accepted)
        config._refuse_task(accepted)
        config._refuse_unknown(accepted)
        return config

    @property
    def base(self) -> str:
        """Name or path of the base model, '' where unknown."""
        return str(self.raw.get("base_model_name_or_path") or "")

    @property
    def rank(self) -> int:
        """The rank of modules that no pattern names."""
        return self._positive("r", self.raw.get("r", 8))

    @property
    def alpha(self) -> float:
        """The alpha of modules that no pattern names."""
        return self._number("lora_alpha", self.raw.get("lora_alpha", 8))

    @property
    def dora(self) -> bool:
        """Whether a magnitude vector scales the updated weight's rows."""
        return bool(self.raw.get("use_dora"))

    @property
    def rslora(self) -> bool:
        """Whether the scaling is alpha / sqrt(rank) rather than alpha / rank."""
        return bool(self.raw.get("use_rslora"))

    def names(self, field: str) -> tuple[str, ...]:
        """Return a setting that is a list of names, or empty."""
        value = self.raw.get(field) or ()
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise self._wrong(field, value, "a list of names")
        return tuple(value)

    def rank_of(self, module: str) -> int:
        """Return the rank in the settings of a module, named as in the file."""
        return self._positive("rank_pattern", self._by_pattern("rank_pattern", module, self.rank))

    def scaling(self, module: str, rank: int) -> float:
        """Return the factor of B A: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
        alpha = self._number("alpha_pattern", self._by_pattern("alpha_pattern", module, self.alpha))
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def _by_pattern(self, field: str, module: str, default: object) -> object:
        """Apply PEFT's rule: the first pattern counts that matches a name or its dotted tail."""
        patterns = self.raw.get(field) or {}
        if not isinstance(patterns, dict):
            raise self._wrong(field, patterns, "a table of patterns")
        for pattern, value in patterns.items():
            try:
                if matches(rf"(.*\.)?({unwrap_pattern(pattern)})$", module):
                    return value
            except (re.error, OverflowError, RecursionError) as error:
                raise self._wrong(field, pattern, f"a regular expression ({error})") from None
        return default

    def _refuse(self, allowed: str) -> None:
        kind = str(self.raw.get("peft_type") or "LORA").upper()
        if kind != "LORA":
            raise MergeError(
                f"adapter of type {kind}",
                where=str(self.path),
                hint="only LoRA adapters are merged; `robustmerge convert` makes LoRA of others",
            )
        for field, advice in _REFUSED.items():
            if self.raw.get(field) and field != allowed:
                raise MergeError(
                    f"{field} is set, which is not plain LoRA", where=str(self.path), hint=advice
                )
        if (bias := self.raw.get("bias") or "none") != "none":
            raise MergeError(
                f"bias = {bias!r}: trained biases of the base model are part of this adapter",
                where=str(self.path),
                hint=f"servers refuse such adapters and PEFT loads no second one; {_IN_PEFT}",
            )
        for field in ("use_rslora", "fan_in_fan_out"):
            if not isinstance(self.raw.get(field) or False, bool):
                raise self._wrong(field, self.raw[field], "true or false")
        for field in ("base_model_name_or_path", "revision", "task_type"):
            if not isinstance(self.raw.get(field) or "", str):
                raise self._wrong(field, self.raw[field], "text")
        self.names("modules_to_save")

    def _refuse_start(self, accepted: Collection[str]) -> None:
        """Refuse initializations that replace the base weights, or may as they are unknown here."""
        start = self.raw.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
            raise MergeError(
                f"init_lora_weights = {start!r}: the update belongs to changed base weights",
                where=str(self.path),
                hint="`robustmerge convert` with --base or --initial makes plain LoRA of it, and "
                "so does PEFT's save_pretrained with path_initial_model_for_weight_conversion",
            )
        known = start is None or isinstance(start, bool) or start in _STARTS
        if not known and "init_lora_weights" not in accepted:
            raise MergeError(
                f"init_lora_weights = {shown(start)} is no initialization that is known here, and "
                "some replace the base weights",
                where=str(self.path),
                hint="where the trainer's documentation says that this one does not: merge with "
                "--accept-setting init_lora_weights",
            )

    def _refuse_task(self, accepted: Collection[str]) -> None:
        """Refuse a task type with which PEFT loads neither the input nor a result."""
        task = self.raw.get("task_type")
        if not task or task in _TASKS or "task_type" in accepted:
            return
        raise MergeError(
            f"task_type = {shown(task)} is none of PEFT's: {', '.join(_TASKS)}",
            where=str(self.path),
            hint="write one of them, or null; where a newer PEFT has it: merge with "
            "--accept-setting task_type",
        )

    def _refuse_unknown(self, accepted: Collection[str]) -> None:
        """Refuse settings that may change what the adapter computes, all of them at once."""
        known = _PLAIN | _OF_TRAINERS | _REFUSED.keys() | set(accepted)
        unknown = sorted(k for k, v in self.raw.items() if v and k not in known)
        if not unknown:
            return
        values = few([f"{k} = {shown(self.raw[k])}" for k in unknown], 8)
        options = " ".join(f"--accept-setting {name}" for name in unknown)
        raise MergeError(
            f"unknown setting{'s' * bool(unknown[1:])} {values}, which may change what the adapter "
            "computes",
            where=str(self.path),
            hint=f"where the trainer's documentation says that they do not: merge with {options}; "
            "a merge of this adapter alone (-m task-arithmetic) is then plain for all commands",
        )

    def _positive(self, field: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(field, value, "a positive whole number")
        return value

    def _number(self, field: str, value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not abs(value) < _LARGEST
        ):
            raise self._wrong(field, value, "a number")
        return float(value)

    def _wrong(self, field: str, value: object, wanted: str) -> MergeError:
        return MergeError(
            f"{field} = {value!r:.80} is not {wanted}", where=str(self.path), hint="fix the file"
        )


def check_printable(raw: Mapping[str, Any], path: Path) -> None:
    """Check that settings have no control characters.

    Raises:
        MergeError: they have.
    """
    if has_control(raw):
        raise MergeError(
            "control characters in the settings, which a terminal would obey",
            where=str(path),
            hint="do not trust this adapter; no program writes them",
        )
