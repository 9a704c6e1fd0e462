"""What answers: the models of every contender, named by all that decides their answers.

A merge, an adapter as it is and the base are one model each, the experts one for every task. Two
contenders that come to the same weights are one model under two labels.
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

_SHOWN = 12  # digits of a hash in a name: 48 bits
_OF_PLACES = ("adapters", "plugins", "data", "base", "modules")

Locate = Callable[[str], Path]
"""From a folder or Hub id to a folder on this machine."""


@dataclass(frozen=True)
class StudyModel:
    """One model that answers questions.

    Attributes:
        contender: Whose it is.
        tasks: What it is asked.
        key: Of its weights: the base's and the adapter's contents.
        answers: Of its answers: the weights, and how it is asked.
        adapter: The folder of its adapter, if that is there as it is.
        expert: The task whose expert it is, if it is one.
    """

    contender: StudyContender
    tasks: tuple[PaperTask, ...]
    key: str
    answers: str
    adapter: Path | None = None
    expert: str = ""

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.contender.label} {self.expert}".strip()

    @property
    def name(self) -> str:
        """What files and servers call it."""
        return _plain(self.label)

    @property
    def merged_name(self) -> str:
        """Of the folder that a merge is written to."""
        return f"{self.name}-{self.key[:_SHOWN]}"

    @property
    def answers_name(self) -> str:
        """Of the folder that its answers are written to."""
        return f"{self.name}-{self.answers[:_SHOWN]}"


def models(
    study: Study,
    contender: StudyContender,
    tasks: Sequence[PaperTask],
    asked: Mapping[str, Any],
    base: str,
    hashes: FileHashes,
    locate: Locate,
) -> list[StudyModel]:
    """The models of a contender.

    Args:
        study: The study.
        contender: Which one.
        tasks: On which tasks.
        asked: The options that decide what is answered.
        base: Hash of the base model.
        hashes: Hashes of files.
        locate: Where adapters are.

    Raises:
        MergeError: An adapter is not there.
    """

    def model(key: str, folder: Path | None = None, of_task: str = "") -> StudyModel:
        chosen = tuple(task for task in tasks if of_task in ("", task.name))
        return StudyModel(
            contender, chosen, key, hash_of([base, key, dict(asked)]), folder, of_task
        )

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
    """The hash of everything that decides a merge: settings, defaults, contents of all files."""
    plain = {k: v for k, v in recipe.to_dict().items() if k not in _OF_PLACES}
    method = methods.get(recipe.method)
    plain["parameters"] = dict(method.configure(recipe.parameters))
    plain["modules"] = recipe.to_dict().get("modules", [])
    plain["adapters"] = [hashes.adapter(locate(source)) for source in recipe.adapters]
    plain["plugins"] = [_contents(plugin, hashes) for plugin in recipe.plugins]
    plain["data"] = recipe.data and hashes.data(Path(recipe.data))
    plain["base"] = recipe.base and hashes.base(recipe.base)
    return hash_of(plain)


def _contents(plugin: str, hashes: FileHashes) -> str:
    return hashes.file(Path(plugin)) if plugin.endswith(".py") else plugin


def _plain(label: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", label).strip("-.")[:60] or "model"
