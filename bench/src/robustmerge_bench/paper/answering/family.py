"""The base model's family, from its config.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustmerge.adapter.source import local_folder, snapshot
from robustmerge.errors import MergeError
from robustmerge.files import read_json

from .engine import PromptFormat
from .options import PromptOption
from .questions import TaskPrompts

_SETTINGS = "config.json"
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


def settings_of(base: str) -> Mapping[str, Any]:
    """Read the config.json of a base model, a folder or Hub id.

    Raises:
        MergeError: The file is missing, or in the format of the original LLaVA code.
    """
    folder = local_folder(base)
    if folder is None:
        folder = Path(snapshot(base, base, None, [_SETTINGS]))
    settings = read_json(folder / _SETTINGS)
    if "mm_projector_type" in settings or "mm_vision_tower" in settings:
        raise MergeError(
            "the base is in the format of the original LLaVA code",
            where=str(folder / _SETTINGS),
            hint="--base llava-hf/llava-1.5-7b-hf has the same weights for transformers; adapters "
            "in the original format are converted to it",
        )
    return settings


def is_llava_15(settings: Mapping[str, Any]) -> bool:
    """Return whether this is the model of the released scripts: CLIP, a projector, Vicuna."""
    parts = {"text_config": "llama", "vision_config": "clip_vision_model"}
    return settings.get("model_type") == "llava" and all(
        (settings.get(part) or {}).get("model_type", kind) == kind for part, kind in parts.items()
    )


def template_begins_text(base: str) -> bool:
    """Return whether a base's own chat template writes the token that begins a text.

    A server that puts questions into the template adds no such token of its own unless asked.
    """
    folder = local_folder(base)
    if folder is None:
        folder = Path(snapshot(base, base, None, list(_TEMPLATES)))
    jinja = folder / _TEMPLATES[0]
    tables = [read_json(folder / name) for name in _TEMPLATES[1:] if (folder / name).is_file()]
    templates = [str(table.get("chat_template") or "") for table in tables]
    templates += [jinja.read_text(encoding="utf-8")] if jinja.is_file() else []
    tokens = [table.get("bos_token") for table in tables]
    texts = [token.get("content") if isinstance(token, dict) else token for token in tokens]
    marks = ["bos_token", *(str(text) for text in texts if text)]
    return any(mark in template for template in templates for mark in marks)


def is_clip(settings: Mapping[str, Any]) -> bool:
    """Return whether this is CLIP, which classifies images and does nothing else."""
    return settings.get("model_type") == "clip"


def check_tasks(base: str, settings: Mapping[str, Any], tasks: Sequence[TaskPrompts]) -> None:
    """Check that the base can answer these tasks."""
    for prompts in tasks:
        title, first = prompts.task.title, prompts.questions[0]
        if is_clip(settings) and prompts.task.kind != "label":
            raise MergeError(
                f"CLIP cannot answer {title}",
                where=base,
                hint="--tasks vision are the tasks for it",
            )
        if not is_clip(settings) and prompts.task.kind == "label" and not first.text.strip():
            raise MergeError(
                f"the questions of {title} have no text, and the base is "
                f"{settings.get('model_type')}",
                where=first.where,
                hint="it is for CLIP; for other models, give it a question file with texts",
            )


def prompt_for(settings: Mapping[str, Any], option: PromptOption, base: str) -> PromptFormat:
    """Return the prompt format that suits a base.

    The option auto is vicuna for LLaVA-1.5, and the model's own chat template for others.
    `settings` are those of the base's config.json.

    Raises:
        MergeError: Vicuna's prompt for another model.
    """
    if option == "chat-template" or (option == "auto" and not is_llava_15(settings)):
        return "chat-template"
    if not is_llava_15(settings):
        raise MergeError(
            f"vicuna is the prompt of LLaVA-1.5, and the base is {settings.get('model_type')}",
            where=f"--prompt vicuna\n{base}",
            hint="--prompt chat-template is the format that each model was trained with",
        )
    return "vicuna"
