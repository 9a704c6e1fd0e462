"""Training: stages, resumption, and adapters that PEFT takes as they are."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoProcessor, LlavaForConditionalGeneration

from bench_factories.short_training import brief
from robustmerge.errors import MergeError
from robustmerge.files import write_json
from robustmerge_bench.mini.tasks import SEEN
from robustmerge_bench.mini.training import train as training
from robustmerge_bench.mini.training.experts import ExpertSettings, seed_of_A, train_expert
from robustmerge_bench.mini.training.fit import TrainingSchedule, fit, write_state
from robustmerge_bench.mini.training.sizes import SIZES
from robustmerge_bench.mini.training.vision import LABELS, labels_of
from robustmerge_bench.mini.world.scene import Line, Scene, Thing


class KilledError(Exception):
    """Stands for a kill."""


def train_a_line(checkpoint: Path | None, stop: int | None = None) -> Tensor:
    """Fit a small net to random data, stopped after some steps."""
    torch.manual_seed(0)
    net = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 1)])})

    def loss(rng: Generator) -> Tensor:
        x = torch.tensor(rng.normal(size=(8, 3)), dtype=torch.float32)
        first, last = net["layers"]
        return (last(first(x)).squeeze() - x.sum(1)).square().mean()

    def report(step: int, value: float) -> None:
        if step == stop:
            raise KilledError

    fit(
        net,
        loss,
        TrainingSchedule(30, 1e-2),
        seed=(7,),
        report=report,
        checkpoint=checkpoint,
        every=10,
    )
    return torch.cat([w.detach().flatten() for w in net.parameters()])


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole = train_a_line(None)
    checkpoint = tmp_path / "state.pt"
    with pytest.raises(KilledError):
        train_a_line(checkpoint, stop=17)
    assert torch.load(checkpoint)["step"] == 10
    assert torch.equal(train_a_line(checkpoint), whole)
    assert not torch.equal(whole, train_a_line(None) + 1e-6)


def test_a_state_of_more_workers_is_not_gone_on_with(tmp_path: Path) -> None:
    checkpoint = tmp_path / "state.pt"
    with pytest.raises(KilledError):
        train_a_line(checkpoint, stop=17)
    state = torch.load(checkpoint)
    assert state["workers"] == 1
    write_state({**state, "workers": 2}, checkpoint)
    with pytest.raises(MergeError, match="begun with --workers 2; with --workers 1 other"):
        train_a_line(checkpoint)
    write_state({**state, "workers": 2, "step": 30}, checkpoint)
    train_a_line(checkpoint)


def test_a_training_can_end_before_its_rate_is_down(tmp_path: Path) -> None:
    net = nn.Linear(2, 1)
    plan = TrainingSchedule(100, 1e-2, stop=7)
    reported: list[int] = []
    reached = fit(
        net,
        lambda rng: net(torch.ones(1, 2)).square().sum(),
        plan,
        seed=(0,),
        report=lambda step, loss: reported.append(step),
        checkpoint=tmp_path / "state.pt",
    )
    assert (reached, reported) == (7, list(range(1, 8)))
    assert torch.load(tmp_path / "state.pt")["step"] == 7
    assert plan.share(6) == TrainingSchedule(100, 1e-2).share(6)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    plan = TrainingSchedule(100, 1.0, warmup=0.1)
    shares = [plan.share(step) for step in range(100)]
    assert shares[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(shares) == shares[9] == shares[10] == 1
    assert all(a >= b for a, b in pairwise(shares[10:]))
    assert shares[-1] < 0.01


def test_slow_parameters_learn_at_a_tenth() -> None:
    net = nn.ModuleDict({"fast": nn.Linear(2, 1), "slow": nn.Linear(2, 1)})
    before = {name: w.detach().clone() for name, w in net.named_parameters()}

    def loss(rng: Generator) -> Tensor:
        return (net["fast"](torch.ones(2)) + net["slow"](torch.ones(2))).sum()

    plan = TrainingSchedule(1, 1e-2, muon=False, slow="slow")
    fit(net, loss, plan, seed=(0,), report=lambda *_: None)
    moved = {
        name: float((w.detach() - before[name]).abs().mean()) for name, w in net.named_parameters()
    }
    assert moved["slow.weight"] == pytest.approx(moved["fast.weight"] / 10, rel=1e-3)


def test_what_is_seen_is_what_the_scene_says() -> None:
    scene = Scene(
        (Thing("cat", "red", 0, 0), Thing("dog", "blue", 0, 1, corner=3)),
        "sand",
        (Line("a7", 5, 2),),
        gauge=(3, 4),
    )
    board = labels_of(scene)
    names = list(LABELS)
    name, part, character = (board[..., names.index(k)] for k in ("name", "part", "character"))
    assert name[:2, :2].tolist() == [[1, 1], [1, 1]]
    assert part[:2, :4].tolist() == [[1, 2, 0, 0], [3, 4, 0, 5]]
    assert name[1, 3] == 2
    assert character[5].tolist() == [0, 0, 1, 34, 0, 0]
    assert (board[3, :, names.index("gauge")] == 5).all()
    assert board[4, 2, names.index("row")] == 4
    assert (board.reshape(-1, len(LABELS)).max(0) < list(LABELS.values())).all()


def test_training_leaves_a_base_for_plain_transformers(trained: Path) -> None:
    base = LlavaForConditionalGeneration.from_pretrained(trained / "base")
    processor = AutoProcessor.from_pretrained(trained / "base")
    message = [{"type": "image"}, {"type": "text", "text": "what is this ?"}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": message}], add_generation_prompt=True
    )
    assert prompt == "USER: <image> what is this ? ASSISTANT:"
    inputs = processor(images=np.zeros((48, 48, 3), np.uint8), text=prompt, return_tensors="pt")
    assert base(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("kind", ["shared-0", "shared-0-frozen"])
def test_experts_are_adapters_that_peft_loads(trained: Path, kind: str) -> None:
    folders = sorted(p.name for p in (trained / "experts" / kind).iterdir())
    assert folders == sorted([*SEEN, *(["joint"] if kind == "shared-0" else [])])
    base = LlavaForConditionalGeneration.from_pretrained(trained / "base")
    loaded = PeftModel.from_pretrained(base, trained / "experts" / kind / "rec")
    tensors = load_file(trained / "experts" / kind / "rec" / "adapter_model.safetensors")
    layers = SIZES["nano"].shape.layers
    assert sum("lora_A" in name for name in tensors) == 7 * layers
    assert any("projector" in name for name in tensors) == (kind == "shared-0")
    assert not any("vision" in name for name in tensors)
    assert max(t.abs().max() for name, t in tensors.items() if "lora_B" in name) > 0
    assert loaded.peft_config["default"].base_model_name_or_path == "robustmerge-mini"


def test_what_is_trained_is_not_trained_again(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "nano", brief())
    written = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    training.train(trained, size="nano", workers=1)
    training.train(trained, size="nano", workers=1, frozen=True)
    assert written == {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}


def test_a_folder_with_another_training_is_refused(trained: Path) -> None:
    with pytest.raises(MergeError, match="another training") as caught:
        training.train(trained, size="mini")
    assert "nano" in str(caught.value)
    assert json.loads((trained / "training.json").read_text())["size"] == "nano"


def test_a_setting_that_an_earlier_version_did_not_have_is_none(tmp_path: Path) -> None:
    """`stop` is younger than the first folders of experts."""
    settings = {"size": "nano", "sight": {"steps": 3, "stop": None}, "kept": None}
    write_json(tmp_path / "training.json", {"about": "", "size": "nano", "sight": {"steps": 3}})
    training.settle(tmp_path, settings)
    for other in ({"sight": {"steps": 3, "stop": 2}}, {"kept": 1}, {"size": None}):
        with pytest.raises(MergeError, match="another training"):
            training.settle(tmp_path, settings | other)


def test_an_adapter_that_was_half_saved_is_trained_again(trained: Path, tmp_path: Path) -> None:
    half = tmp_path / ".rec.new"
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"half")
    recipe = ExpertSettings(rank=2, items=8, epochs=1, batch=8)
    train_expert(trained / "base", tmp_path / "rec", "rec", "shared", 0, recipe)
    assert (tmp_path / "rec" / "adapter_config.json").exists()
    assert not half.exists()


def test_sets_have_folders_of_their_own() -> None:
    recipe = ExpertSettings(rank=2)
    jobs = training.list_jobs(Path("x"), recipe, (0, 1), ("shared", "independent"), "", True)
    assert len(jobs) == 2 * (2 * 8 + 1)
    assert [x.folder.as_posix() for x in jobs[:2]] == ["x/shared-0/joint", "x/shared-1/joint"]
    assert len({job.folder for job in jobs}) == len(jobs)
    other = training.list_jobs(Path("x"), recipe, (0,), ("shared",), "-rank8", False)
    assert {x.folder.parent.name for x in other} == {"shared-0-rank8"}


def test_another_rank_is_trained_into_a_set_of_its_own(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "nano", brief())
    shutil.copytree(trained, tmp_path / "root", ignore=shutil.ignore_patterns("shared-*"))
    training.train(tmp_path / "root", size="nano", workers=1, rank=3)
    (folder,) = (tmp_path / "root" / "experts").iterdir()
    assert folder.name == "shared-0-rank3"
    tensors = load_file(folder / "imn" / "adapter_model.safetensors")
    assert {t.shape[0] for name, t in tensors.items() if "lora_A" in name} == {3}
    assert len(list(folder.iterdir())) == 8


def test_shared_starts_are_shared_and_independent_ones_are_not() -> None:
    assert len({seed_of_A("shared", 3, task) for task in SEEN}) == 1
    assert len({seed_of_A("independent", 3, task) for task in SEEN}) == 8
    assert seed_of_A("independent", 3, "sqa") != seed_of_A("independent", 4, "sqa")


def test_experts_of_a_set_share_the_start_of_A(trained: Path, tmp_path: Path) -> None:
    A = {}
    # One step at no rate leaves A as it began.
    recipe = ExpertSettings(rank=2, items=8, epochs=1, batch=8, rate=0.0)
    for init in ("shared", "independent"):
        for task in ("sqa", "rec"):
            folder = tmp_path / init / task
            train_expert(trained / "base", folder, task, init, 0, recipe)
            tensors = load_file(folder / "adapter_model.safetensors")
            A[init, task] = next(t for n, t in sorted(tensors.items()) if "lora_A" in n)
    assert torch.equal(A["shared", "sqa"], A["shared", "rec"])
    assert not torch.allclose(A["independent", "sqa"], A["independent", "rec"])
