"""From conversations to an adapter: what is learned, and what is written."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText

from bench_factories.conversations import entry, source_of, write
from bench_factories.tiny_models import FAMILIES, save
from faults.refuse import tree
from robustmerge.collect.gradients import IGNORED
from robustmerge.errors import MergeError
from robustmerge.live.loaded import landed
from robustmerge_bench.paper.training.conversations import Source, TrainingSet
from robustmerge_bench.paper.training.device import DeviceConfig
from robustmerge_bench.paper.training.encoding import encoder_for
from robustmerge_bench.paper.training.expert import with_lora
from robustmerge_bench.paper.training.progress import TrainingProgress
from robustmerge_bench.paper.training.recipe import TrainingRecipe
from robustmerge_bench.paper.training.train import train

WEIGHTS = "adapter_model.safetensors"
FAST = {"rank": 2, "batch": 4, "learning_rate": 3e-3, "projector_rate": 1e-3}


def trained(
    base: Path, source: Source, folder: Path, device: DeviceConfig | None = None, **settings: Any
) -> dict[str, Tensor]:
    """The tensors of an adapter that is trained into a folder."""
    train(
        str(base),
        [source],
        folder,
        task=source.task,
        recipe=TrainingRecipe(**{**FAST, **settings}),
        device=device or DeviceConfig(gradient_checkpointing=False),
    )
    return load_file(folder / WEIGHTS)


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_its_adapter_lands(
    family: str, tmp_path: Path, source: Source
) -> None:
    base = save(family, tmp_path / "base")
    before = tree(base)
    result = trained(base, source, tmp_path / "out", device=DeviceConfig(), limit=4, warmup=0.0)
    assert tree(base) == before
    moved = [bool(weight.any()) for name, weight in result.items() if "lora_B" in name]
    assert len(moved) == 14
    assert all(moved)
    model = AutoModelForImageTextToText.from_pretrained(base)
    whole = {n: w.clone() for n, w in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        landed(PeftModel.from_pretrained(model, str(tmp_path / "out")), tmp_path / "out")
    for name, weight in result.items():
        # The second of two layers' deep features reach no answer in a model of two layers.
        if "lora_" not in name and "deepstack_merger_list.1" not in name:
            assert not torch.equal(weight, whole[name.removeprefix("base_model.model.")]), name


def train_step_by_step(base: Path, source: Source, recipe: TrainingRecipe) -> dict[str, Tensor]:
    """The recipe step by step: token means, clipping, AdamW at two rates, warm-up and cosine."""
    records = TrainingSet.read([source])
    encoder = encoder_for(str(base), recipe)
    model = with_lora(AutoModelForImageTextToText.from_pretrained(base), recipe, source.task)
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}
    rates = {n: recipe.learning_rate if "lora_" in n else recipe.projector_rate for n in names}
    first = {n: torch.zeros_like(p) for n, p in names.items()}
    second = {n: torch.zeros_like(p) for n, p in names.items()}
    count = dict.fromkeys(names, 0)
    rows = recipe.rows(records.counts)
    steps, warm = recipe.count_steps(len(rows)), recipe.count_warmup_steps(len(rows))
    for step in range(steps):
        some = rows[step * recipe.batch : (step + 1) * recipe.batch]
        examples = [encoder(records.conversations[row]) for row in some]
        total = sum(int((e["labels"] != IGNORED).sum()) for e in examples)
        for example in examples:
            inputs = {n: v for n, v in example.items() if n != "labels"}
            logits = model(**inputs).logits[0, :-1]
            labels = example["labels"][0, 1:]
            loss = cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / total
            loss.backward()
        norm = math.sqrt(
            sum(float(p.grad.square().sum()) for p in names.values() if p.grad is not None)
        )
        share = (
            step / warm
            if step < warm
            else (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2
        )
        with torch.no_grad():
            for n, p in names.items():
                if p.grad is None:
                    continue
                gradient = p.grad * min(1, 1 / (norm + 1e-6))
                count[n] += 1
                first[n] = 0.9 * first[n] + 0.1 * gradient
                second[n] = 0.999 * second[n] + 0.001 * gradient**2
                mean, spread = first[n] / (1 - 0.9 ** count[n]), second[n] / (1 - 0.999 ** count[n])
                p -= rates[n] * share * mean / (spread.sqrt() + 1e-8)
                p.grad = None
    return {
        n.replace(".default", "").replace("modules_to_save.", ""): p.detach()
        for n, p in names.items()
    }


@pytest.mark.parametrize(
    "settings",
    [{"batch": 3, "epochs": 2, "warmup": 0.4}, {"batch": 2, "warmup": 0.0}],
    ids=["warm", "cold"],
)
def test_it_learns_what_the_recipe_says(
    llava: Path, source: Source, tmp_path: Path, settings: dict[str, Any]
) -> None:
    recipe = TrainingRecipe(**{**FAST, "dropout": 0.0, "learning_rate": 1e-3, **settings})
    train(str(llava), [source], tmp_path / "out", task="toy", recipe=recipe, device=DeviceConfig())
    result, wanted = (
        load_file(tmp_path / "out" / WEIGHTS),
        train_step_by_step(llava, source, recipe),
    )
    assert largest_difference(result, wanted) < 2e-5
    assert max(float(w.abs().max()) for n, w in wanted.items() if "lora_B" in n) > 1e-3


@pytest.fixture(scope="module")
def plain(
    llava: Path, source: Source, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    """An adapter trained without dropout, each batch at once, nothing computed twice."""
    return trained(llava, source, tmp_path_factory.mktemp("plain") / "out", dropout=0.0)


@pytest.mark.parametrize(
    "device",
    [
        DeviceConfig(device_batch=1, gradient_checkpointing=False),
        DeviceConfig(device_batch=2, gradient_checkpointing=True),
        pytest.param(DeviceConfig(workers=1), marks=pytest.mark.slow),
    ],
    ids=["one-by-one", "two-checkpointed", "checkpointed-worker"],
)
def test_portions_and_checkpointing_change_nothing(
    llava: Path, source: Source, tmp_path: Path, plain: dict[str, Tensor], device: DeviceConfig
) -> None:
    assert (
        largest_difference(plain, trained(llava, source, tmp_path / "out", device, dropout=0.0))
        < 1e-5
    )


def test_the_projector_has_a_rate_of_its_own(llava: Path, source: Source, tmp_path: Path) -> None:
    """AdamW's first step is as long as the rate, whatever the gradient."""
    rates = {"learning_rate": 3e-3, "projector_rate": 7e-4}
    result = trained(
        llava, source, tmp_path / "out", limit=4, warmup=0.0, dropout=0.0, seed=1, **rates
    )
    model = AutoModelForImageTextToText.from_pretrained(llava)
    base = {n: w.detach() for n, w in model.named_parameters()}
    for name, weight in result.items():
        if "lora_B" in name:
            assert float(weight.abs().max()) == pytest.approx(3e-3, rel=1e-3)
        elif "lora_A" not in name:
            step = (weight - base[name.removeprefix("base_model.model.")]).abs().max()
            assert float(step) == pytest.approx(7e-4, rel=1e-2)


def test_a_frozen_projector_stays_out(llava: Path, source: Source, tmp_path: Path) -> None:
    result = trained(llava, source, tmp_path / "out", projector="frozen", limit=1, warmup=0.0)
    assert all("lora_" in name for name in result)
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["parameters"]["projector"] == 0


def test_bfloat16_trains_in_float32(llava: Path, source: Source, tmp_path: Path) -> None:
    result = trained(llava, source, tmp_path / "out", dtype="bfloat16", limit=4, warmup=0.0)
    assert {weight.dtype for weight in result.values()} == {torch.float32}
    assert all(bool(weight.any()) for name, weight in result.items() if "lora_B" in name)


def test_text_alone_leaves_the_projector(llava: Path, tmp_path: Path) -> None:
    source = source_of(write(tmp_path / "t.json", [entry("Q", f"A{n}") for n in range(4)]))
    result = trained(llava, source, tmp_path / "out", warmup=0.0)
    base = AutoModelForImageTextToText.from_pretrained(llava).state_dict()
    for name, weight in result.items():
        if "lora_" not in name:
            assert torch.equal(weight, base[name.removeprefix("base_model.model.")])


def test_several_tasks_are_one_adapter(llava: Path, tmp_path: Path) -> None:
    sources = [
        source_of(write(tmp_path / f"{name}.json", [entry(name, "A")] * n), name)
        for name, n in (("one", 3), ("two", 2))
    ]
    record = train(
        str(llava),
        sources,
        tmp_path / "out",
        task="joint",
        recipe=TrainingRecipe(**FAST),
        device=DeviceConfig(),
    )
    assert (record["task"], record["conversations_seen"], record["steps"]) == ("joint", 5, 2)
    assert [file["task"] for file in record["data"]] == ["one", "two"]


def test_the_folder_and_its_record(llava: Path, source: Source, tmp_path: Path) -> None:
    reports: list[TrainingProgress] = []
    recipe = TrainingRecipe(**FAST, seed=3)
    out = tmp_path / "new" / "out"
    record = train(
        str(llava),
        [source],
        out,
        task="toy",
        recipe=recipe,
        device=DeviceConfig(),
        report=reports.append,
    )
    assert set(tree(out)) == {"README.md", WEIGHTS, "adapter_config.json", "training.json"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    written = json.loads((out / "training.json").read_text())
    assert written.pop("files").keys() == {"README.md", WEIGHTS, "adapter_config.json"}
    assert written == record
    assert record["base"] == str(llava)
    assert record["recipe"]["seed"] == 3
    assert record["recipe"]["prompt"] == "vicuna"
    assert (record["recipe"]["dtype"], record["recipe"]["framing"]) == ("float32", "pad")
    assert record["data"][0]["sha256"] == TrainingSet.read([source]).files[0]["sha256"]
    assert record["parameters"]["lora"] > 0
    assert set(record["versions"]) >= {"torch", "transformers", "peft"}
    assert [[step.done, round(step.loss, 6)] for step in reports] == record["loss"]
    assert [(step.done, step.todo) for step in reports] == [(1, 2), (2, 2)]
    assert reports[0].left > 0 == reports[1].left
    assert "toy" in (out / "README.md").read_text()


@pytest.mark.parametrize(("rows", "batch", "warmup"), [(4, 4, 0.03), (3, 128, 0.03), (8, 2, 0.9)])
def test_a_warm_up_without_end_is_refused(
    llava: Path, tmp_path: Path, rows: int, batch: int, warmup: float
) -> None:
    source = source_of(write(tmp_path / "t.json", [entry("Q", "A")] * rows))
    with pytest.raises(MergeError, match="and the warm-up from a rate of zero takes"):
        trained(llava, source, tmp_path / "out", batch=batch, warmup=warmup)


def test_the_same_training_gives_the_same_bytes(
    llava: Path, source: Source, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        torch.manual_seed(len(name))
        torch.rand(len(name))
        trained(llava, source, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    settings = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert settings["target_modules"] == sorted(settings["target_modules"])


def test_what_is_there_is_kept_unless_forced(llava: Path, source: Source, tmp_path: Path) -> None:
    trained(llava, source, tmp_path / "out", limit=1, warmup=0.0)
    before = tree(tmp_path)
    with pytest.raises(MergeError, match="the output exists"):
        trained(llava, source, tmp_path / "out")
    with pytest.raises(MergeError, match="the output would replace an input"):
        trained(llava, source, llava)
    assert tree(tmp_path) == before
    options: dict[str, Any] = {
        "task": "toy",
        "recipe": TrainingRecipe(**FAST, limit=2, warmup=0.0),
        "force": True,
    }
    assert train(str(llava), [source], tmp_path / "out", **options)["conversations_seen"] == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(MergeError, match="is not a trained adapter"):
        train(str(llava), [source], tmp_path / "other", **options)


def test_a_loss_that_is_no_number_ends_it(llava: Path, source: Source, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="the loss is nan at step") as caught:
        trained(llava, source, tmp_path / "out", learning_rate=1e30, epochs=9, warmup=0.0)
    assert "--learning-rate" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_wherever_it_is_read(
    llava: Path, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    source = source_of(write(tmp_path / "t.json", [entry("Q", "A", "a.png")]))
    with pytest.raises(MergeError, match="cannot read the image") as caught:
        trained(llava, source, tmp_path / "out", DeviceConfig(workers=workers), warmup=0.0)
    assert "Traceback" not in str(caught.value)
    lines = [line.strip() for line in caught.value.where.splitlines()]
    assert lines[:2] == [str(tmp_path / "a.png"), f"{tmp_path / 't.json'}, record 1"]


def test_images_and_texts_are_not_mixed_among_parts_of_a_model(
    llava: Path, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(MergeError, match="1 of 7 conversations have no image") as caught:
        trained(llava, source, tmp_path / "out")
    assert caught.value.where.endswith("record 7")


def test_bad_data_is_found_before_the_model_is_looked_for(tmp_path: Path) -> None:
    source = source_of(write(tmp_path / "t.json", [entry("Q", "")]))
    with pytest.raises(MergeError, match="an answer, is empty"):
        trained(tmp_path / "nowhere", source, tmp_path / "out")
