"""What the base model is, from its settings alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustmerge.adapter.source import local_folder, snapshot
from robustmerge.errors import MergeError
from robustmerge.files import read_json

from .engine import Prompt
from .questions import TaskPrompts

_SETTINGS = "config.json"


def settings_of(base: str) -> Mapping[str, Any]:
    """The base model's config.json.

    Args:
        base: A folder or Hub id.

    Raises:
        MergeError: There is none, or it is the original LLaVA code's.
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
    """Whether this is the model of the released scripts: CLIP, a projector, Vicuna."""
    parts = {"text_config": "llama", "vision_config": "clip_vision_model"}
    return settings.get("model_type") == "llava" and all(
        (settings.get(part) or {}).get("model_type", kind) == kind for part, kind in parts.items()
    )


def is_clip(settings: Mapping[str, Any]) -> bool:
    """Whether this is CLIP, which tells the class of a picture and nothing else."""
    return settings.get("model_type") == "clip"


def check_tasks(base: str, settings: Mapping[str, Any], papers: Sequence[TaskPrompts]) -> None:
    """Check that the base can be asked these questions.

    Raises:
        MergeError: CLIP is asked for more than classes, or another model is asked without words.
    """
    for paper in papers:
        title, first = paper.task.title, paper.questions[0]
        if is_clip(settings) and paper.task.kind != "label":
            raise MergeError(
                f"CLIP cannot answer {title}",
                where=base,
                hint="--tasks vision are the tasks for it",
            )
        if not is_clip(settings) and paper.task.kind == "label" and not first.text.strip():
            raise MergeError(
                f"{title} asks nothing in words, and the base is {settings.get('model_type')}",
                where=first.where,
                hint="it is for CLIP; for other models, give it a question file with texts",
            )


def prompt_for(settings: Mapping[str, Any], wanted: str, base: str) -> Prompt:
    """The prompt that a base is asked with.

    Args:
        settings: The base's.
        wanted: vicuna, chat-template, or auto: vicuna for LLaVA-1.5, the template for others.
        base: What it is called in messages.

    Raises:
        MergeError: Vicuna's prompt for another model.
    """
    if wanted == "chat-template" or (wanted == "auto" and not is_llava_15(settings)):
        return "chat-template"
    if not is_llava_15(settings):
        raise MergeError(
            f"vicuna is the prompt of LLaVA-1.5, and the base is {settings.get('model_type')}",
            where=f"--prompt vicuna\n{base}",
            hint="--prompt chat-template asks every model as it was trained to be asked",
        )
    return "vicuna"
