"""Merging, answering and scoring, as a study's run uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from robustmerge.adapter.source import locate
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.options import read_fields
from robustmerge.engine.recipe import Recipe
from robustmerge.errors import MergeError, shown, within

from ...metrics import java
from ..answering.options import AnsweringOptions
from ..answering.run import Progress, answer
from ..data.find import find
from ..score import Protocol, Score
from ..scoring import score
from ..tasks import PaperTask
from .limited import QuestionFiles, limit_questions
from .values import check_known

NAME = "{label}"
"""Stands for the server's name of a model: the contender's label."""

_DECIDE = ("engine", "model", "dtype", "prompt", "limit", "max_new_tokens")


@dataclass
class StudyTools:
    """What a run calls; tests replace it.

    Attributes:
        progress: Called with a task's name, its answers so far and its questions.
        fetch: Download adapters.
    """

    options: AnsweringOptions
    out: Path
    progress: Progress
    fetch: bool = True

    @property
    def asked(self) -> Mapping[str, Any]:
        """The options that determine the answers."""
        plain = {name: value for name, value in asdict(self.options).items() if name in _DECIDE}
        # On a GPU the model family chooses between the two half types.
        default = "float32" if self.options.device.startswith("cpu") else "half"
        dtype = self.options.dtype or default if self.options.engine == "transformers" else None
        return {**plain, "dtype": dtype}

    def locate(self, source: str) -> Path:
        """Return the folder of an adapter, from a folder or Hub id."""
        return locate(source, fetch=self.fetch)

    def find(self, root: Path, task: PaperTask) -> QuestionFiles:
        """Return a task's files under the root of all data."""
        files = find(root, task)
        near = (files.questions.parent / name for name in task.references)
        references = files.references or next((path for path in near if path.exists()), None)
        return QuestionFiles(files.questions, references)

    def merge(self, recipe: Recipe, output: Path) -> None:
        """Merge by a recipe, into a folder."""
        merge_recipe(recipe, output)

    def answer(
        self,
        base: str,
        adapter: str | None,
        tasks: Sequence[PaperTask],
        data: Path,
        out: Path,
        name: str,
    ) -> None:
        """Write a model's answers, TASK.jsonl for each task, into `out`; present ones are kept.

        Without adapter the base answers. `name` is the server's name of the model.
        """
        model = self.options.model and self.options.model.replace(NAME, name)
        options = replace(self.options, model=model)
        answer(base, adapter, tasks, data, out, options=options, progress=self.progress)

    def score(
        self, task: PaperTask, files: QuestionFiles, answers: Path, protocol: Protocol
    ) -> Score:
        """Score a task's answers by a protocol."""
        limit = self.options.limit
        if limit is not None:
            folder = self.out / "limited" / f"{task.name}-{limit}"
            files = limit_questions(task, files, limit, folder)
        return score(task, files.questions, answers, protocol=protocol, references=files.references)

    def complete(self, task: PaperTask, path: Path) -> bool:
        """Return whether a score has all that can be computed now: METEOR takes Java."""
        if task.kind != "captions" or java.missing_software():
            return True
        return not Score.read(path).missing


def read_answering(entries: Mapping[str, Any], *, limit: int | None) -> AnsweringOptions:
    """Read the options under `answering` in a study file; a limit given here replaces theirs."""
    known = (item.name for item in fields(AnsweringOptions))
    check_known("option of answering", entries, known)
    with within("answering"):
        options = AnsweringOptions(**read_fields(AnsweringOptions, entries))
    options = options if limit is None else replace(options, limit=limit)
    options.check()
    if options.engine == "server" and NAME not in str(options.model):
        raise MergeError(
            "one name for all models of a study",
            where=f"answering: model = {shown(options.model)}",
            hint=f"model: '{NAME}' stands for each model's label, by which the server has to know "
            "it, as in vLLM's --lora-modules TIES=OUT/merged/TIES-…",
        )
    return options
