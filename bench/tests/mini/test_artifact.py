"""The artifact: the same weights in half precision, and every byte accounted for."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from bench_factories.untrained_world import make_root
from robustmerge import MergeError
from robustmerge_bench.mini import artifact as module
from robustmerge_bench.mini.artifact import Artifact, pack, verify
from robustmerge_bench.mini.tasks import SEEN, TASKS
from robustmerge_bench.mini.training.processor import make_tokenizer

MADE_BY = {"command": "train --size nano", "seed": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("nano") / "root")


@pytest.fixture(scope="module")
def packed(root: Path) -> Artifact:
    return pack(root, root.parent / "artifact", made_by=MADE_BY)


@pytest.fixture
def copy(packed: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed.folder, tmp_path / "copy"))


def test_an_artifact_that_was_just_packed_is_whole(packed: Artifact) -> None:
    result = verify(packed.folder)
    assert result.manifest == packed.manifest
    assert result.manifest["made_by"] == MADE_BY
    assert json.loads((result.folder / "training.json").read_text())["size"] == "nano"
    assert list(result.experts) == list(SEEN)
    assert all((folder / "adapter_config.json").is_file() for folder in result.experts.values())
    assert (result.joint / "adapter_model.safetensors").is_file()


def test_the_manifest_has_the_size_and_the_hash_of_every_file(packed: Artifact) -> None:
    folder = packed.folder
    written = json.loads((folder / "manifest.json").read_text())
    present = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    del present["manifest.json"]
    assert written["files"] == {
        name: {
            "bytes": len(path.read_bytes()),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for name, path in present.items()
    }
    assert written["bytes"] == sum(len(path.read_bytes()) for path in present.values())
    assert written["versions"]["torch"] == version("torch")


def test_all_weights_are_the_trained_ones_in_float16(root: Path, packed: Artifact) -> None:
    for file in packed.folder.rglob("*.safetensors"):
        trained = load_file(root / file.relative_to(packed.folder))
        kept = load_file(file)
        assert kept.keys() == trained.keys()
        for name, tensor in kept.items():
            assert tensor.dtype == torch.float16
            assert torch.equal(tensor, trained[name].half())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_transformers_and_peft_load_it_as_it_is(root: Path, packed: Artifact) -> None:
    model = LlavaForConditionalGeneration.from_pretrained(packed.base)
    assert model.dtype == torch.float16
    trained = LlavaForConditionalGeneration.from_pretrained(root / "base").state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, trained[name].half()), name
    expert = PeftModel.from_pretrained(model, packed.experts["ocr"])
    kept = load_file(packed.experts["ocr"] / "adapter_model.safetensors")
    for name, weight in expert.named_parameters():
        if "lora_B" in name:
            assert torch.equal(weight, kept[name.replace(".default", "")].to(weight))
    tokenizer = AutoTokenizer.from_pretrained(packed.base)
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()


def test_a_changed_file_is_named_with_both_hashes(copy: Path) -> None:
    file = copy / "experts/shared-0/rec/adapter_model.safetensors"
    noted = hashlib.sha256(file.read_bytes()).hexdigest()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(MergeError, match="a file of the artifact has changed") as error:
        verify(copy)
    assert str(file) in error.value.where
    assert noted in error.value.where
    assert hashlib.sha256(content).hexdigest() in error.value.where


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "base/tokenizer.json").unlink()
    with pytest.raises(MergeError, match="files of the manifest are missing") as error:
        verify(copy)
    assert "base/tokenizer.json" in error.value.where


def test_an_extra_file_is_named(copy: Path) -> None:
    (copy / "experts/shared-0/rec/notes.txt").write_text("mine")
    with pytest.raises(MergeError, match="does not name") as error:
        verify(copy)
    assert "experts/shared-0/rec/notes.txt" in error.value.where


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no manifest.json"),
        ("{", "not valid JSON"),
        ("[]", "does not hold a JSON object"),
        ("{}", "cannot be read"),
        ('{"format": 1, "experts": "a", "world": {"b": ""}, "files": []}', "cannot be read"),
        (
            '{"format": 2, "experts": "a", "world": {"b": ""}, "files": {}}',
            "of a kind that this version does not know",
        ),
    ],
)
def test_a_damaged_manifest_is_refused(copy: Path, text: str | None, problem: str) -> None:
    manifest = copy / "manifest.json"
    manifest.unlink()
    if text is not None:
        manifest.write_text(text)
    with pytest.raises(MergeError, match=problem) as error:
        verify(copy)
    assert str(manifest if text else copy) in error.value.where


def test_a_changed_world_is_noticed(packed: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["tab"]
    monkeypatch.setitem(TASKS, "tab", replace(task, draw=TASKS["vqa"].draw))
    with pytest.raises(MergeError, match=r"the world has changed.*: tab") as error:
        verify(packed.folder)
    assert str(packed.manifest["world"]["tab"]) in error.value.where


def test_changed_words_are_noticed(packed: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*module.vocabulary(), "zebra"]
    monkeypatch.setattr(module, "vocabulary", lambda: words)
    with pytest.raises(MergeError, match=r"the world has changed.*: words"):
        verify(packed.folder)


def test_one_pixel_is_a_changed_world(monkeypatch: pytest.MonkeyPatch) -> None:
    before = module.fingerprints()
    monkeypatch.setitem(TASKS, "sqa", ChangedPixel(**vars(TASKS["sqa"])))
    after = module.fingerprints()
    assert [name for name in before if before[name] != after[name]] == ["sqa"]


class ChangedPixel(type(TASKS["sqa"])):  # type: ignore[misc]
    """A task with one pixel of one picture changed."""

    def items(self, split, count, seed=0):  # type: ignore[no-untyped-def]
        result = super().items(split, count, seed)
        image = np.array(result[-1].image)
        image[0, 0, 0] ^= 1
        return [*result[:-1], replace(result[-1], image=image)]


def test_what_is_too_large_is_refused_and_leaves_nothing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="100,000 are the most"):
        pack(root, tmp_path / "new" / "out", made_by=MADE_BY, largest=100_000)
    assert not list(tmp_path.iterdir())


def test_a_training_without_all_experts_is_refused_and_leaves_nothing(
    root: Path, tmp_path: Path
) -> None:
    half = shutil.copytree(root, tmp_path / "half")
    shutil.rmtree(half / "experts/shared-0/joint")
    with pytest.raises(MergeError, match="cannot read the file") as error:
        pack(half, tmp_path / "out", made_by=MADE_BY)
    assert "joint" in error.value.where
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


def test_a_value_beyond_float16_is_refused(root: Path, tmp_path: Path) -> None:
    wild = shutil.copytree(root, tmp_path / "wild")
    file = wild / "experts/shared-0/viz/adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    tensors[name][0, 0] = 7e4
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(MergeError, match="7e\\+04, and float16 ends at 65504") as error:
        pack(wild, tmp_path / "out", made_by=MADE_BY)
    assert str(file) in error.value.where
    assert name in error.value.where


def test_an_artifact_is_replaced_by_force_alone_and_nothing_else_is(
    root: Path, copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(MergeError, match="the output exists"):
        pack(root, copy, made_by=MADE_BY)
    assert pack(root, copy, made_by={"seed": 1}, force=True).manifest["made_by"] == {"seed": 1}
    verify(copy)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    with pytest.raises(MergeError, match="is not an artifact"):
        pack(root, tmp_path / "mine", made_by=MADE_BY, force=True)
