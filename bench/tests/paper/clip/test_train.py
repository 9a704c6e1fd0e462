"""Experts of CLIP: what they learn from, under which loss, and that stopping changes nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from bench_factories.trainer_arguments import recomputes
from robustmerge.checks.check import check
from robustmerge.cli.app import run as command
from robustmerge.errors import MergeError
from robustmerge_bench.paper.answering.clip.model import ClipModel
from robustmerge_bench.paper.answering.clip.templates import sentences
from robustmerge_bench.paper.tasks import select_tasks
from robustmerge_bench.paper.training.batches import Collator, OrderedExamples
from robustmerge_bench.paper.training.clip.images import ClassImages, ImageEncoder
from robustmerge_bench.paper.training.clip.recipe import ClipRecipe
from robustmerge_bench.paper.training.clip.train import ClassLoss, ClassTraining, train
from robustmerge_bench.paper.training.device import DeviceConfig
from robustmerge_bench.paper.training.progress import TrainingProgress
from robustmerge_bench.paper.training.trainer import arguments

BRIEF = ClipRecipe(rank=2, steps=3, batch=4)


def tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def record(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "training.json").read_text())
    return found


def test_the_loss_is_among_the_classes_of_a_images_own_task() -> None:
    head = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    seen = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    labels, own = [0, 2, 4, 3], {0: (0, 1), 1: (2, 3, 4)}
    owners = [0, 0, 1, 1, 1]
    total = 0.0
    for row, label in zip(seen, labels, strict=True):
        length = math.sqrt(sum(float(x) ** 2 for x in row))
        logits = {c: 9.0 * float(row @ head[c]) / length for c in own[owners[label]]}
        total -= logits[label] - math.log(sum(math.exp(x) for x in logits.values()))
    loss = ClassLoss(head, torch.tensor(owners), torch.tensor(9.0))
    outputs = SimpleNamespace(pooler_output=seen)
    targets = torch.tensor(labels)
    assert float(loss(outputs, targets)) == pytest.approx(total / 4, rel=1e-5)
    assert float(loss(outputs, targets, torch.tensor(16))) == pytest.approx(total / 16, rel=1e-5)


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    batch=st.integers(1, 7),
    epochs=st.integers(1, 3),
    limit=st.none() | st.integers(1, 9),
    steps=st.none() | st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_every_image_is_seen_as_often_as_any_other(
    counts: list[int], batch: int, epochs: int, limit: int | None, steps: int | None, seed: int
) -> None:
    recipe = ClipRecipe(batch=batch, epochs=epochs, limit=limit, steps=steps, seed=seed)
    rows = recipe.rows(counts)
    assert rows == recipe.rows(counts)
    assert len(rows) == batch * recipe.count_steps(len(rows))
    taken = [min(n, limit or n) for n in counts]
    if steps is None:
        assert epochs * sum(taken) <= len(rows) < epochs * (sum(taken) + batch)
    else:
        assert recipe.count_steps(len(rows)) == steps
    # Epoch by epoch: a whole one has every image that is taken, once.
    whole = [
        rows[start : start + sum(taken)]
        for start in range(0, len(rows) - sum(taken) + 1, sum(taken))
    ]
    for epoch in whole:
        assert sorted(epoch) == sorted(set(epoch))
        owners = np.searchsorted(np.cumsum(counts), epoch, side="right")
        assert Counter(owners.tolist()) == Counter(dict(enumerate(taken)))
    assert len({tuple(sorted(epoch)) for epoch in whole}) <= 1


def test_the_order_is_another_one_in_every_epoch_and_for_every_seed() -> None:
    first, second = np.split(np.array(ClipRecipe(batch=50, steps=2).rows([50])), 2)
    assert sorted(first) == sorted(second)
    assert first.tolist() != second.tolist()
    assert first.tolist() != sorted(first)
    assert first.tolist() != ClipRecipe(batch=50, steps=1, seed=1).rows([50])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rank": 0}, "--rank 0"),
        ({"steps": 0}, "--steps 0"),
        ({"learning_rate": 0.0}, "--learning-rate 0"),
        ({"learning_rate": math.inf}, "--learning-rate inf"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1"),
        ({"dropout": 1.0}, "--dropout 1.0"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(MergeError, match=words):
        ClipRecipe(**wrong)


def training_of(recipe: ClipRecipe, device: DeviceConfig | None = None) -> ClassTraining:
    """A training on ten images that are never read."""
    data = ClassImages(("cars",), (("red",),), (10,), (), ())
    return ClassTraining("base", recipe, device or DeviceConfig("cpu"), data)


def test_a_device_takes_its_whole_share_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = ClipRecipe(batch=96, steps=2)
    assert training_of(recipe).portion == 96
    assert training_of(recipe, DeviceConfig(device_batch=24)).portion == 24
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert training_of(recipe).portion == 24
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(MergeError, match="cannot be divided"):
        _ = training_of(recipe).portion


def test_a_training_that_would_learn_nothing_is_refused() -> None:
    with pytest.raises(MergeError, match="the training has one step, and the warm-up"):
        training_of(replace(BRIEF, steps=1))
    assert training_of(replace(BRIEF, steps=1, warmup=0.0)).recipe.count_warmup_steps(4) == 0
    assert BRIEF.count_warmup_steps(100 * BRIEF.batch) == 3


def test_the_recipe_is_passed_to_the_trainer(tmp_path: Path) -> None:
    recipe = ClipRecipe(batch=24, learning_rate=1e-3, weight_decay=0.2, seed=3, steps=50)

    def arguments_of(device: DeviceConfig) -> Any:
        made = training_of(recipe, device)
        more = made.trainer_arguments()
        return arguments(recipe, device, tmp_path, len(made.rows), portion=made.portion, **more)

    args = arguments_of(DeviceConfig("cpu", 4, True, 2, 7))
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (4, 6)
    assert (args.learning_rate, args.weight_decay, args.seed) == (1e-3, 0.2, 3)
    assert (args.num_train_epochs, args.save_steps, args.dataloader_num_workers) == (1, 7, 2)
    assert (args.warmup_steps, len(training_of(recipe).rows)) == (2, 50 * 24)
    assert recomputes(args)
    assert not recomputes(arguments_of(DeviceConfig("cpu", None, False)))


def test_images_of_several_tasks(root: Path, base: Path) -> None:
    data = ClassImages.read(select_tasks("cars,dtd"), root)
    assert data.tasks == ("cars", "dtd")
    assert data.classes == (("blue", "green", "red"), ("black", "white", "yellow"))
    assert data.counts == (36, 36)
    assert data.owners.tolist() == [0, 0, 0, 1, 1, 1]
    names = [name for names in data.classes for name in names]
    assert [names[one.label] for one in data.images] == [
        one.path.parent.name for one in data.images
    ]
    assert {(f["task"], f["pictures"], f["classes"]) for f in data.files} == {
        ("cars", 36, 3),
        ("dtd", 36, 3),
    }
    clip = ClipModel.load(str(base))
    examples = OrderedExamples(data.images, [40, 3], 1, ImageEncoder(clip))
    batch = Collator()([examples[n] for n in (0, 1)])
    image_files = [Image.open(data.images[n].path) for n in (40, 3)]
    assert torch.equal(batch["pixel_values"], clip.pixels(image_files))
    assert batch["labels"].tolist() == [data.images[n].label for n in (40, 3)]


def test_a_question_file_teaches_as_well(root: Path, tmp_path: Path) -> None:
    image_file = next((root / "Cars/train/red").iterdir())
    request = {"question_id": 1, "image": str(image_file), "text": "", "answer": "crimson"}
    place = tmp_path / "Cars" / "train.json"
    place.parent.mkdir()
    place.write_text(json.dumps([request]))
    data = ClassImages.read(select_tasks("cars"), tmp_path)
    assert data.classes == (("crimson",),)
    assert data.images[0].path == image_file
    del request["image"]
    place.write_text(json.dumps([request]))
    with pytest.raises(MergeError, match="a question without an image"):
        ClassImages.read(select_tasks("cars"), tmp_path)


def test_other_tasks_are_refused(root: Path) -> None:
    with pytest.raises(MergeError, match="CLIP cannot learn ScienceQA"):
        ClassImages.read(select_tasks("cars,scienceqa"), root)
    with pytest.raises(MergeError, match=r"no train or train\.json of MNIST"):
        ClassImages.read(select_tasks("mnist"), root)


def test_what_an_expert_is(base: Path, experts: dict[str, Path]) -> None:
    found = tensors(experts["cars"])
    module = "base_model.model.vision_model.encoder.layers.{}.self_attn.{}_proj.lora_{}.weight"
    assert set(found) == {
        module.format(layer, name, part)
        for layer in range(2)
        for name in ("q", "k", "v", "out")
        for part in "AB"
    }
    assert all(tensor.any() and tensor.dtype == torch.float32 for tensor in found.values())
    checked = check(experts["cars"], str(base))
    assert checked.holds
    assert checked.ranks == (4,)
    reported = record(experts["cars"])
    assert (reported["task"], reported["steps"], reported["pictures_seen"]) == ("cars", 40, 480)
    assert reported["parameters"] == {"lora": sum(t.numel() for t in found.values())}
    assert reported["loss"][-1][1] < reported["loss"][0][1]  # type: ignore[index]
    config = json.loads((experts["cars"] / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 4)
    assert config["auto_mapping"]["base_model_class"] == "CLIPModel"
    assert sorted(path.name for path in experts["cars"].iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    ]
    assert not list(experts["cars"].parent.glob(".*"))


def test_the_first_loss_is_the_zero_shot_one(base: Path, root: Path, tmp_path: Path) -> None:
    recipe = replace(BRIEF, steps=1, batch=9, dropout=0.0, warmup=0.0)
    reported = train(str(base), select_tasks("dtd"), root, tmp_path / "x", recipe=recipe)
    data, clip = ClassImages.read(select_tasks("dtd"), root), ClipModel.load(str(base))
    head = clip.head([sentences("dtd", name) for name in data.classes[0]])
    losses = []
    for row in recipe.rows(data.counts):
        image = data.images[row]
        logits = clip.scale * head @ clip.features(clip.pixels([Image.open(image.path)]))[0]
        losses.append(-float(logits.log_softmax(0)[image.label]))
    assert reported["loss"] == [[1, pytest.approx(np.mean(losses), rel=1e-4)]]


def test_all_linear_layers(base: Path, root: Path, tmp_path: Path) -> None:
    recipe = replace(BRIEF, targets="all-linear", steps=1, warmup=0.0)
    train(str(base), select_tasks("cars"), root, tmp_path / "x", recipe=recipe)
    assert {name.split(".")[-3] for name in tensors(tmp_path / "x")} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "out_proj",
        "fc1",
        "fc2",
    }
    assert check(tmp_path / "x", str(base)).holds


def test_where_A_starts(base: Path, root: Path, tmp_path: Path) -> None:
    starts = {}
    for init in ("shared", "independent"):
        for task in ("cars", "dtd"):
            folder = tmp_path / init / task
            recipe = replace(BRIEF, init=init, steps=1, warmup=0.0)
            train(str(base), select_tasks(task), root, folder, recipe=recipe)
            starts[init, task] = record(folder)["start_sha256"]
    assert starts["shared", "cars"] == starts["shared", "dtd"]
    assert len(set(starts.values())) == 3


def test_a_stopped_training_goes_on_to_the_same_adapter(
    base: Path, root: Path, tmp_path: Path
) -> None:
    recipe = ClipRecipe(rank=2, steps=7, batch=6, dropout=0.3, learning_rate=1e-2)
    device = DeviceConfig("cpu", 3, gradient_checkpointing=False, save_every=2)
    train(
        str(base), select_tasks("cars,dtd"), root, tmp_path / "whole", recipe=recipe, device=device
    )
    first: list[int] = []

    def stop(step: TrainingProgress) -> None:
        first.append(step.done)
        if step.done == 5:
            raise KeyboardInterrupt

    arguments = (str(base), select_tasks("cars,dtd"), root, tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        train(*arguments, recipe=recipe, device=device, report=stop)
    assert not (tmp_path / "stopped").exists()
    second: list[int] = []
    train(*arguments, recipe=recipe, device=device, report=lambda step: second.append(step.done))
    assert (first, second) == ([1, 2, 3, 4, 5], [5, 6, 7])
    wanted, found = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert record(tmp_path / "stopped") == record(tmp_path / "whole")
    assert record(tmp_path / "whole")["task"] == "cars+dtd"


@pytest.mark.slow
def test_two_processes_learn_what_one_does(base: Path, root: Path, tmp_path: Path) -> None:
    recipe = ClipRecipe(rank=2, steps=4, batch=8, dropout=0.0, learning_rate=1e-2)
    train(str(base), select_tasks("cars,dtd"), root, tmp_path / "one", recipe=recipe)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    verb = ["-m", "robustmerge", "bench", "train-clip", "--base", str(base), "--data", str(root)]
    options = [
        "--task",
        "cars,dtd",
        "--rank",
        "2",
        "--steps",
        "4",
        "--batch",
        "8",
        "--workers",
        "0",
    ]
    options += ["--dropout", "0", "--learning-rate", "0.01", "--device", "cpu"]
    done = subprocess.run(
        [*launch, *verb, *options, "-o", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert record(tmp_path / "two")["processes"] == 2
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5


def test_another_training_does_not_go_on(base: Path, root: Path, tmp_path: Path) -> None:
    def stop(step: TrainingProgress) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    arguments = (str(base), select_tasks("cars"), root, tmp_path / "x")
    with pytest.raises(KeyboardInterrupt):
        train(*arguments, recipe=BRIEF, device=DeviceConfig(save_every=1), report=stop)
    with pytest.raises(MergeError, match="with 1 other settings was started here") as caught:
        train(*arguments, recipe=replace(BRIEF, learning_rate=1e-3))
    assert "recipe learning_rate: 0.0003 there, 0.001 here" in caught.value.where
    train(*arguments, recipe=replace(BRIEF, learning_rate=1e-3), restart=True)
    with pytest.raises(MergeError, match="the output exists"):
        train(*arguments, recipe=BRIEF)


def test_the_command(
    base: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "train-clip", "--base", str(base), "--data", str(root), "--device", "cpu"]
    arguments += ["--workers", "0", "--steps", "2", "--batch", "4", "--rank", "2"]
    assert command([*arguments, "--task", "cars", "-o", str(tmp_path / "x")]) == 0
    printed = capsys.readouterr()
    assert "cars: 36 images of 3 classes" in printed.out
    assert "rank 2 on attention, A shared, 1,024 parameters" in printed.out
    assert "step 2 of 2" in printed.err
    assert check(tmp_path / "x", str(base)).holds
    assert command([*arguments, "--task", "rec", "-o", str(tmp_path / "y")]) == 1
    assert "CLIP cannot learn REC" in capsys.readouterr().err
    other = ["bench", "train", "--base", str(base), "--data", str(root), "--task", "cars"]
    assert command([*other, "-o", str(tmp_path / "y")]) == 1
    assert "robustmerge bench train-clip" in capsys.readouterr().err
    assert not (tmp_path / "y").exists()
