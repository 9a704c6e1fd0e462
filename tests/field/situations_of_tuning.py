"""Situations in which `tune` gives advice."""

from __future__ import annotations

import sys
from pathlib import Path

from factories.bases import lines
from field.following import pair, situation
from field.situations_of_data import tuned_llama

EVALUATION = "print(1.0)\n"
TUNE = "tune a b -o t -m task-arithmetic --search scale --trials 1"
SCORE = f"--score '{sys.executable} my_eval.py {{adapter}}'"


def scored() -> None:
    """Two adapters, and a script that prints a number."""
    pair()
    Path("my_eval.py").write_text(EVALUATION)


def measured() -> None:
    """Adapters of a base that runs, and samples with answers."""
    tuned_llama()
    lines(Path("s"), [{"prompt": f"w{n} w6", "answer": "w7"} for n in range(5, 11)])


LIKELIHOOD = f"{TUNE} --measure likelihood --samples s --base base"


@situation("--score 'python my_eval.py {adapter}', or --measure likelihood or agreement")
def no_measure() -> tuple[str, ...]:
    measured()
    Path("my_eval.py").write_text(EVALUATION)
    return (
        TUNE,
        f"{TUNE} {SCORE}",
        LIKELIHOOD,
        f"{TUNE} --measure agreement --samples s s --base base",
    )


@situation("--score NAME='command'")
def two_scores_of_one_name() -> tuple[str, ...]:
    scored()
    command = SCORE.removeprefix("--score ").strip("'")
    return (
        f"{TUNE} --score x='{command}' --score x='{command}'",
        f"{TUNE} --score x='{command}' --score y='{command}'",
    )


@situation("such as --search scale weights parameters:density")
def an_axis_twice() -> tuple[str, ...]:
    scored()
    tune = f"tune a b -o t -m ties --trials 1 {SCORE} --search"
    return f"{tune} scale scale", f"{tune} scale weights parameters:density"


@situation("--search scale projections, or a number as --scale")
def projections_of_a_rule() -> tuple[str, ...]:
    scored()
    tune = f"{TUNE.replace('--search scale', '--search projections')} {SCORE}"
    return (
        f"{tune} --scale geometric-middle",
        f"{tune.replace('projections', 'scale projections')} --scale geometric-middle",
        f"{tune} --scale 0.5",
    )


@situation("--trials 50")
def no_trials() -> tuple[str, ...]:
    scored()
    none = f"{TUNE.replace('--trials 1', '--trials 0')} {SCORE}"
    return none, none.replace("--trials 0", "--trials 50")


@situation("--at-once 8 draws eight trials together")
def no_trial_at_a_time() -> tuple[str, ...]:
    scored()
    none = f"{TUNE} --at-once 0 {SCORE}"
    return none, none.replace("--at-once 0", "--at-once 8")


@situation("--storage is an URL of Optuna, such as sqlite:///study.db")
def no_storage() -> tuple[str, ...]:
    scored()
    return f"{TUNE} {SCORE} --storage nowhere", f"{TUNE} {SCORE} --storage sqlite:///study.db"


@situation("or a command of your own: --score")
def no_samples_to_tune_by() -> tuple[str, ...]:
    measured()
    Path("my_eval.py").write_text(EVALUATION)
    return LIKELIHOOD.replace(" --samples s", ""), LIKELIHOOD, f"{TUNE} {SCORE}"


@situation("--measure agreement needs no answers")
def samples_without_answers() -> tuple[str, ...]:
    measured()
    lines(Path("q"), [{"prompt": f"w{n} w6"} for n in range(5, 11)])
    return (
        LIKELIHOOD.replace("--samples s", "--samples q"),
        f"{TUNE} --measure agreement --samples q q --base base",
    )


@situation("leave --server out, or score the server's answers by a command")
def predictions_of_a_server() -> tuple[str, ...]:
    measured()
    return f"{LIKELIHOOD} --server http://localhost:9", LIKELIHOOD
