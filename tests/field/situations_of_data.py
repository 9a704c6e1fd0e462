"""Situations in which commands that run the base model give advice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from factories.bases import adapt, lines, llama, llava, text_only, write_image
from factories.checkpoints import base
from factories.families import build
from field.following import run_quietly, situation

# --- collect --------------------------------------------------------------------------------------


def tuned_llama() -> None:
    """A base that runs, adapters a and b of it, samples, and statistics of one kind."""
    llama(Path("base"))
    adapt(text_only(), {"a": {"r": 2}, "b": {"r": 2}}, Path())
    lines(Path("s"), [{"text": "w5 w6 w7"}])


COLLECT = "collect a b --base base --samples s s -o stats"


@situation("a folder of statistics is what `robustmerge collect` writes")
def no_statistics() -> tuple[str, ...]:
    tuned_llama()
    regmean = "merge a b -o m -m regmean --data"
    return f"{regmean} b", f"{COLLECT} && {regmean} stats"


@situation("--work FOLDER, on a disk with room for them")
def hidden_states_without_a_folder() -> tuple[str, ...]:
    tuned_llama()
    relay = "merge a b -o m -m relay --base base --samples s s --set activations=disk"
    return relay, f"{relay} --work w"


@situation(" with --what ")
def another_statistic() -> tuple[str, ...]:
    tuned_llama()
    assert run_quietly(COLLECT)[0] == 0
    return (
        "merge a b -o m -m fisher --data stats",
        f"{COLLECT} --what inputs fisher --force && merge a b -o m -m fisher --data stats",
    )


@situation("; with --dtype float32, if the model's outputs are not finite")
def statistics_that_are_no_numbers() -> tuple[str, ...]:
    tuned_llama()
    assert run_quietly(COLLECT)[0] == 0
    (file, *_) = sorted(Path("stats").glob("*.safetensors"))
    save_file({n: t * float("nan") for n, t in load_file(file).items()}, file)
    record = json.loads(Path("stats/statistics.json").read_text())
    for entry in record["adapters"]:
        entry.pop("sha256", None)
    Path("stats/statistics.json").write_text(json.dumps(record))
    shutil.copytree("stats", "bad")
    shutil.rmtree("stats")
    return (
        "merge a b -o m -m regmean --data bad",
        f"{COLLECT} --dtype float32 && merge a b -o m -m regmean --data stats",
    )


@situation("--limit 256")
def no_samples() -> tuple[str, ...]:
    tuned_llama()
    return f"{COLLECT} --limit 0", f"{COLLECT} --limit 256"


@situation("with its tokenizer or processor")
def base_that_does_not_load() -> tuple[str, ...]:
    tuned_llama()
    base(Path("other"))
    return COLLECT.replace("base base", "base other"), COLLECT


@situation("--base is a model of images and text")
def images_for_text() -> tuple[str, ...]:
    tuned_llama()
    write_image(Path("i.png"), 0)
    lines(Path("s"), [{"text": "<image> w5", "image": "i.png"}])
    llava(Path("llava"))
    adapt(build("llava"), {"c": {"r": 2}}, Path())
    return COLLECT, "collect c --base llava --samples s -o stats"


# --- Methods and steps that run the base ----------------------------------------------------------

SAMPLES = "--base base --samples s s"


@situation("leave it out; --set steps=600 trains longer")
def polished_twice() -> tuple[str, ...]:
    tuned_llama()
    merge = f"merge a b -o m -m distill {SAMPLES}"
    return f"{merge} --polish 3", f"{merge} --set steps=4"
