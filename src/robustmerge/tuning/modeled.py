"""Objectives that run the base model: registered here, imported when one is made.

likelihood   mean over samples of log p(answer) per token
agreement    - KL(adapter ‖ merge), mean over the tokens of the adapters' own answers
"""

from __future__ import annotations

from ..errors import MergeError
from .labeled import read_tasks
from .objective import Objective, ObjectiveSetup, objective, take_settings

SETTINGS = {"longest": "128", "precision": "float32"}
"""Of every objective with a model: tokens of an answer, and the type that it runs in."""


@objective("likelihood", "log-likelihood of the samples' answers, per token")
def make_likelihood(setup: ObjectiveSetup) -> Objective:
    """Read the samples, which have answers."""
    base = _base(setup, "likelihood")
    settings = take_settings(setup, SETTINGS)
    tasks = read_tasks(setup, answered=True)
    from .likelihood import Likelihood

    return Likelihood(base, tasks, setup.device, settings)


@objective("agreement", "how near the merge's predictions are to each adapter's own; no labels")
def make_agreement(setup: ObjectiveSetup) -> Objective:
    """Read the samples, one file per adapter, whose answers are not used.

    Raises:
        MergeError: another number of files.
    """
    base = _base(setup, "agreement")
    settings = take_settings(setup, SETTINGS)
    tasks = read_tasks(setup, answered=False)
    if len(tasks) != len(setup.recipe.adapters):
        raise MergeError(
            f"{len(tasks)} files of samples for {len(setup.recipe.adapters)} adapters",
            where="--samples",
            hint="agreement is with each adapter on its own task: one file per adapter, in order",
        )
    from .likelihood import Agreement

    return Agreement(base, setup.recipe.adapters, tasks, setup.device, settings)


def _base(setup: ObjectiveSetup, name: str) -> str:
    """Return the base model.

    Raises:
        MergeError: no base, or a server, which does not show its predictions.
    """
    if setup.server:
        raise MergeError(
            f"{name} reads the model's predictions, which a server does not show",
            where=f"--server {setup.server}",
            hint="leave --server out, or score the server's answers by a command",
        )
    return needed_base(setup)


def needed_base(setup: ObjectiveSetup) -> str:
    """Return the base model.

    Raises:
        MergeError: none is named.
    """
    if setup.recipe.base is None:
        raise MergeError(
            "the measure runs the base model",
            where="--base",
            hint="--base MODEL, the folder or Hub id that the adapters were trained on",
        )
    return setup.recipe.base
