"""The trained parts are packed small, and a root is made of them and the packages' weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from factories.adapters import adapter
from robustmerge.errors import MergeError
from robustmerge_bench.midi import artifact
from robustmerge_bench.midi.artifact import pack, unpack
from robustmerge_bench.midi.tasks import SEEN
from robustmerge_bench.midi.training import stages
from robustmerge_bench.midi.training.build import save_base
from robustmerge_bench.midi.training.language import LanguageSettings, Trainable
from robustmerge_bench.midi.training.projector import ProjectorSettings, SeeingPart
from robustmerge_bench.midi.training.stages import MidiPlan, StageInput
from robustmerge_bench.mini.artifact import check_files, read_manifest
from robustmerge_bench.mini.training.fit import write_state
from robustmerge_bench.mini.training.train import settle

from .test_student import RECIPE, tiny_model, tokenizer
from .test_tasks import pool

SHIPPED = Path(__file__).parents[2] / "artifacts" / "midi"
RANK = 2
PLAN = MidiPlan(ProjectorSettings(), LanguageSettings(), LanguageSettings(rank=RANK), RECIPE)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageInput:
    """Return a finished training of the tiny model, whose parts are made instead of read."""
    monkeypatch.setattr(stages, "_assemble", lambda work: (tiny_model(), tokenizer()))
    monkeypatch.setattr(artifact, "read_pool", lambda sources: pool())
    work = StageInput(tmp_path / "root", tmp_path / "sources", PLAN)
    work.stages.mkdir(parents=True)
    settle(work.root, stages.asdict(PLAN))
    model = tiny_model()
    model.model.vision_tower.mean.copy_(torch.linspace(0, 1, 56))
    write_state({"module": SeeingPart(model).state_dict()}, work.stages / "projector.pt")
    trainable = Trainable.of(model, RANK)
    for name, weight in trainable.parameters.items():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.1)
    write_state({"module": trainable.parameters.state_dict()}, work.stages / "instruct.pt")
    save_base(trainable.merged(), tokenizer(), work.root / "base")
    for task in SEEN:
        adapter(work.root / "experts" / "shared-0" / task, rank=1, modules={"m": (2, 2)})
    return work


def test_a_root_is_made_again(work: StageInput, tmp_path: Path) -> None:
    manifest = pack(work, tmp_path / "packed", experts="shared-0", note="a test")
    assert manifest["made_by"]["note"] == "a test"
    assert set(manifest["files"]) == {
        "training.json",
        "base.safetensors",
        *(f"experts/shared-0/{task}/adapter_config.json" for task in SEEN),
        *(f"experts/shared-0/{task}/adapter_model.safetensors" for task in SEEN),
    }
    again = replace(work, root=tmp_path / "again")
    unpack(tmp_path / "packed", again)
    before, after = (load_file(each.root / "base" / "model.safetensors") for each in (work, again))
    assert before.keys() == after.keys()
    assert max(float((before[name] - after[name]).abs().max()) for name in before) < 1e-3
    mean, matrix = (
        next(name for name in before if name.endswith(ending))
        for ending in ("vision_tower.mean", "layers.0.mlp.up_proj.weight")
    )
    assert torch.equal(before[mean], torch.linspace(0, 1, 56))
    assert torch.equal(before[mean], after[mean])
    start = tiny_model().model.language_model.layers[0].mlp.up_proj.weight.detach()
    rounded = float((before[matrix] - after[matrix]).norm())
    assert float((before[matrix] - start).norm()) > 100 * rounded > 0
    assert (again.root / "training.json").read_text() == (work.root / "training.json").read_text()
    weights = load_file(again.root / "experts/shared-0/gar/adapter_model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float16}


def test_what_does_not_fit_is_refused(
    work: StageInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, again = tmp_path / "packed", replace(work, root=tmp_path / "again")
    pack(work, packed, experts="shared-0")
    with pytest.raises(MergeError, match="already there"):
        unpack(packed, work)
    with pytest.raises(MergeError, match="another training"):
        unpack(packed, replace(again, plan=replace(PLAN, instruct=LanguageSettings(rank=3))))
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "hash_of_world", lambda tasks: "0" * 64)
        with pytest.raises(MergeError, match="tasks are not those"):
            unpack(packed, again)
    (packed / "training.json").write_text("{}")
    with pytest.raises(MergeError, match="has changed"):
        unpack(packed, again)
    assert not again.root.exists()
    assert not list(tmp_path.glob(".again*"))


def test_an_unpacking_that_was_stopped_is_done_again(
    work: StageInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    pack(work, tmp_path / "packed", experts="shared-0")
    again = replace(work, root=tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "build_base", stopped)
        with pytest.raises(KeyboardInterrupt):
            unpack(tmp_path / "packed", again)
    assert not [path for path in tmp_path.iterdir() if "again" in path.name]
    (tmp_path / ".again-0a1b").mkdir()  # as a killed process leaves it
    unpack(tmp_path / "packed", again)
    assert (again.root / "base" / "config.json").is_file()


def test_an_unfinished_training_is_not_packed(work: StageInput, tmp_path: Path) -> None:
    shutil.rmtree(work.root / "experts" / "shared-0" / "gar")
    with pytest.raises(MergeError, match="no adapter for gar"):
        pack(work, tmp_path / "packed", experts="shared-0")
    shutil.rmtree(work.root / "base")
    with pytest.raises(MergeError):
        pack(work, tmp_path / "packed", experts="shared-0")
    assert not (tmp_path / "packed").exists()


def test_the_shipped_parts_are_whole_and_of_the_present_plan(tmp_path: Path) -> None:
    manifest = read_manifest(SHIPPED / "manifest.json")
    check_files(SHIPPED, manifest)
    assert manifest["bytes"] <= 90_000_000
    assert all(path.stat().st_size <= 45_000_000 for path in SHIPPED.rglob("*"))
    assert set(SEEN) <= {path.name for path in (SHIPPED / "experts" / "shared-0").iterdir()}
    shutil.copy(SHIPPED / "training.json", tmp_path)
    settle(tmp_path, stages.asdict(stages.PLAN))  # refuses another training
