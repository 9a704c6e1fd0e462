"""The models of every contender, named by hashes of all that determines their answers.

A merge, an adapter as it is and the base are one model each, the experts one for every task. Two
contenders with the same weights are one model under two labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustmerge import methods
from robustmerge.engine.recipe import Recipe

from ...jobs.hashes import FileHashes, hash_of
from ..tasks import PaperTask
from .contenders import StudyContender
from .file import Study

_OF_FILES = ("adapters", "plugins", "data", "samples", "base", "modules")

Locate = Callable[[str], Path]
"""From a folder or Hub id to a folder on this machine."""


@dataclass(frozen=True)
class StudyModel:
    """One model that answers questions.

    Attributes:
        key: Hash of its weights: the base's and the adapter's contents.
        answers: Hash of what determines its answers: the weights and the options.
        adapter: The folder of an adapter that is not merged by the study.
        expert: The task whose expert it is; '' for all others.
    """

    contender: StudyContender
    tasks: tuple[PaperTask, ...]
    key: str
    answers: str
    adapter: Path | None = None
    expert: str = ""

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.contender.label} {self.expert}".strip()

    @property
    def name(self) -> str:
        """Its name in files and on servers."""
        return re.sub(r"[^A-Za-z0-9._=-]+", "-", self.label).strip("-.")[:60] or "model"


def models_of(
    study: Study,
    contender: StudyContender,
    tasks: Sequence[PaperTask],
    answering: Mapping[str, Any],
    base: str,
    hashes: FileHashes,
    locate: Locate,
) -> list[StudyModel]:
    """Return the models of a contender.

    `answering` are the options that determine the answers, `base` is the hash of the base model.
    """

    def model(key: str, folder: Path | None = None, expert: str = "") -> StudyModel:
        own = tuple(task for task in tasks if expert in ("", task.name))
        answers = hash_of([base, key, dict(answering)])
        return StudyModel(contender, own, key, answers, folder, expert)

    if contender.recipe is not None:
        return [model(merge_key(contender.recipe, hashes, locate))]
    if contender.kind == "individual":
        own = {t.name: locate(study.adapters[t.name]) for t in tasks if t.name in study.adapters}
        return [model(hashes.adapter(folder), folder, name) for name, folder in own.items()]
    if contender.source is not None:
        folder = locate(contender.source)
        return [model(hashes.adapter(folder), folder)]
    return [model("")]


def merge_key(recipe: Recipe, hashes: FileHashes, locate: Locate) -> str:
    """Return the hash of all that determines a merge: settings, defaults, contents of files."""
    settings = recipe.to_dict()
    return hash_of(
        {
            **{name: value for name, value in settings.items() if name not in _OF_FILES},
            "parameters": dict(methods.get(recipe.method).configure(recipe.parameters)),
            "modules": settings.get("modules", []),
            "adapters": [hashes.adapter(locate(source)) for source in recipe.adapters],
            "plugins": [
                hashes.file(Path(plugin)) if plugin.endswith(".py") else plugin
                for plugin in recipe.plugins
            ],
            "data": recipe.data and hashes.data(Path(recipe.data)),
            "base": recipe.base and hashes.base(recipe.base),
            **_samples(recipe, hashes),
        }
    )


def _samples(recipe: Recipe, hashes: FileHashes) -> dict[str, list[str]]:
    """Return the hashes of the files of samples; nothing without any, so that keys stay."""
    files = [hashes.file(Path(path)) for path in recipe.samples]
    return {"samples": files} if files else {}
