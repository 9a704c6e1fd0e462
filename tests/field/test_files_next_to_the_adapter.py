"""Trained tensors in files next to the adapter: read, or named in a refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import robustmerge
from factories.adapters import LLM, adapter, deltas
from factories.checkpoints import base
from factories.families import attach, build, save_adapter
from robustmerge import MergeError
from robustmerge.adapter import source
from robustmerge.adapter.reader import Adapter
from robustmerge.checks.contents import Contents
from robustmerge.checks.summary import summarize
from robustmerge.export.exported import export_adapter
from robustmerge.peft import landed

WEIGHTS = "adapter_model.safetensors"
PROJECTOR = "model.multi_modal_projector.linear_1.weight"


def _value(seed: int) -> Tensor:
    return torch.randn(6, 6, generator=torch.Generator().manual_seed(seed))


def _with_file(folder: Path, name: str, seed: int, key: str = PROJECTOR) -> Path:
    adapter(folder, seed=seed)
    tensors = {f"base_model.model.{key}": _value(seed)}
    if name.endswith(".safetensors"):
        save_file(tensors, folder / name)
    else:
        torch.save(tensors, folder / name)
    return folder


READ = ["non_lora_trainables.bin", "non_lora_state_dict.bin", "mm_projector.bin"]


# 2U1/Qwen-VL-Series-Finetune: the trained vision tower and merger are in non_lora_state_dict.bin.
@pytest.mark.parametrize(
    "name",
    [
        *("mm_projector/model.safetensors", "vision_tower/pytorch_model.bin", "Merger/weights.pt"),
        *("value_head/head.npz", "embed_tokens/0.safetensors"),
    ],
)
def test_a_trained_part_in_a_folder_of_its_own(name: str, tmp_path: Path) -> None:
    """VILA and others save each trained part in a subfolder; nothing read it."""
    path = adapter(tmp_path / "a") / name
    path.parent.mkdir()
    save_file({"weight": torch.ones(2, 2)}, path)
    with pytest.raises(MergeError, match=f"{name} may hold trained tensors"):
        robustmerge.merge([tmp_path / "a"], tmp_path / "m", method="task-arithmetic")


@pytest.mark.parametrize("name", ["checkpoint-200", "runs", "global_step9", "vision"])
def test_other_results_in_an_adapters_folder(name: str, tmp_path: Path) -> None:
    """Checkpoints, states of a trainer, and adapters of other names are not of this adapter."""
    folder = adapter(tmp_path / "a")
    adapter(folder / name) if name == "vision" else (folder / name).mkdir()
    save_file({"weight": torch.ones(2, 2)}, folder / name / "adapter_model.safetensors")
    assert robustmerge.merge([folder], tmp_path / "m", method="task-arithmetic")


@pytest.mark.parametrize("name", [*READ, "non_lora.safetensors"])
def test_the_trained_projector_is_merged_whatever_the_file_is_called(
    name: str, tmp_path: Path
) -> None:
    pair = [_with_file(tmp_path / f"{n}", name, n) for n in (1, 2)]
    robustmerge.merge(pair, tmp_path / "m", layout="hf")
    merged = load_file(tmp_path / "m" / WEIGHTS)[f"base_model.model.{PROJECTOR}"]
    torch.testing.assert_close(merged, (_value(1) + _value(2)) / 2)
    record = json.loads((tmp_path / "m" / "merge.json").read_text())
    assert all(name in entry["sha256"] for entry in record["inputs"])


@pytest.mark.parametrize("name", [*READ, "non_lora.safetensors"])
def test_the_trained_projector_is_exported(name: str, tmp_path: Path) -> None:
    folder = _with_file(tmp_path / "a", name, 1)
    base(tmp_path / "base")
    export_adapter(folder, tmp_path / "full", format="full", base=str(tmp_path / "base"))
    full = load_file(tmp_path / "full" / "model.safetensors")
    torch.testing.assert_close(full[PROJECTOR], _value(1))


def test_a_merge_of_merges_keeps_the_projector(tmp_path: Path) -> None:
    """A projector that a merge put next to its result was lost in the next merge."""
    pair = [_with_file(tmp_path / f"{n}", "non_lora_trainables.bin", n) for n in (1, 2)]
    for n, folder in enumerate(pair):
        robustmerge.merge([folder], tmp_path / f"m{n}", extras_in="beside", layout="hf")
        assert (tmp_path / f"m{n}" / "non_lora.safetensors").is_file()
    again = [tmp_path / "m0", tmp_path / "m1"]
    robustmerge.merge(again, tmp_path / "m", extras_in="beside")
    merged = load_file(tmp_path / "m" / "non_lora.safetensors")[PROJECTOR]
    torch.testing.assert_close(merged, (_value(1) + _value(2)) / 2)


UNREAD = [
    "new_embeddings.safetensors",  # vLLM's rows of added tokens
    "v_head.bin",  # TRL's and LLaMA-Factory's value head
    "pytorch_model.bin",
    "model.safetensors",
    "visual.pt",
    "adapters.npz",
    "ema.ckpt",
    "projector.PTH",
]


@pytest.mark.parametrize("name", UNREAD)
def test_a_file_of_tensors_that_is_not_read_is_named(name: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / name).write_bytes(b"tensors")
    actions = {
        "merge": lambda: robustmerge.merge([folder], tmp_path / "m"),
        "full": lambda: export_adapter(
            folder, tmp_path / "f", format="full", base=str(tmp_path / "base")
        ),
    }
    base(tmp_path / "base")
    for action in actions.values():
        with pytest.raises(MergeError) as caught:
            action()
        assert name in caught.value.problem
    assert any(name in text for text in summarize(Contents.open(folder)).refusals)
    assert not (tmp_path / "m").exists()
    copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns(name))
    robustmerge.merge([copy], tmp_path / "m")  # what the hint advises


RUN_STATE = [
    *("optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth", "rng_state_3.pth"),
    *("training_args.bin", "scaler.pt", "random_states_0.pkl", "zero_pp_rank_0_optim_states.pt"),
    *("dataloader.pt", "sampler_0.bin", "trainer_state.json", "bf16_zero_0_optim_states.pt"),
]


@pytest.mark.parametrize("name", RUN_STATE)
def test_the_state_of_a_training_run_is_no_result(name: str, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / name).write_bytes(b"anything")
    robustmerge.merge([folder], tmp_path / "m")


def _shards(folder: Path, suffix: str = "safetensors") -> Path:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    table = {}
    for n, name in enumerate(sorted(tensors)):
        file = f"adapter_model-{n % 2 + 1:05}-of-00002.{suffix}"
        table[name] = file
    for file in set(table.values()):
        part = {n: tensors[n] for n in tensors if table[n] == file}
        save_file(part, folder / file) if suffix == "safetensors" else torch.save(
            part, folder / file
        )
    index = folder / f"adapter_model.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    return folder


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_sharded_adapter_is_read_whole(suffix: str, tmp_path: Path) -> None:
    whole = adapter(tmp_path / "whole", seed=3)
    parts = _shards(adapter(tmp_path / "parts", seed=3), suffix)
    for folder in (whole, parts):
        robustmerge.merge([folder], tmp_path / f"m-{folder.name}", rank="full")
    merged = [deltas(tmp_path / f"m-{name}") for name in ("whole", "parts")]
    assert all(torch.equal(merged[0][name], merged[1][name]) for name in LLM)
    assert Adapter(parts).paths.weights != Adapter(whole).paths.weights


def test_a_sharded_adapter_without_a_shard_is_refused(tmp_path: Path) -> None:
    folder = _shards(adapter(tmp_path / "a"))
    (folder / "adapter_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MergeError, match=r"00002-of-00002\.safetensors, which is miss"):
        Adapter(folder)


def test_two_weights_files_that_differ_are_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", rank=4)
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    Adapter(folder)
    other = load_file(adapter(tmp_path / "b", rank=2) / WEIGHTS)
    torch.save(other, folder / "adapter_model.bin")
    with pytest.raises(MergeError, match="hold different tensors"):
        Adapter(folder)


def test_the_base_in_an_embedded_export_is_no_tensor_of_the_adapter(tmp_path: Path) -> None:
    base(tmp_path / "base")
    folder = adapter(tmp_path / "a")
    (tmp_path / "base" / "adapter_config.json").unlink()
    export_adapter(
        folder, tmp_path / "e", format="embedded", base=str(tmp_path / "base"), copy=True
    )
    assert (tmp_path / "e" / "model.safetensors").is_file()
    robustmerge.merge([tmp_path / "e"], tmp_path / "m")


class _Hub:
    """A repository that is a folder: what is wanted of it, and what it lists."""

    def __init__(self, folder: Path, more: tuple[str, ...] = ()) -> None:
        self.folder, self.wanted = folder, set[str]()
        self.names = [*(p.name for p in folder.iterdir()), *more]

    def download(self, repo: str, *, allow_patterns: list[str], **_: object) -> str:
        self.wanted |= set(allow_patterns)
        return str(self.folder)

    def list(self, repo: str, **_: object) -> list[str]:
        return self.names


@pytest.mark.parametrize("name", [*READ, "non_lora.safetensors"])
def test_the_projector_is_fetched_from_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub(_with_file(tmp_path / "a", name, 1))
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", hub.list)
    source.locate("owner/name")
    assert name in hub.wanted


def test_what_is_not_fetched_from_the_hub_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = _Hub(adapter(tmp_path / "a"), ("new_embeddings.safetensors", "optimizer.pt", "x/y.bin"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.download)
    monkeypatch.setattr("huggingface_hub.list_repo_files", hub.list)
    with pytest.raises(MergeError, match="new_embeddings"):
        source.locate("owner/name")


PROMISES = {
    "modules_to_save": ["lm_head"],
    "trainable_token_indices": [3, 4],
}


@pytest.mark.parametrize(("field", "value"), PROMISES.items())
def test_what_settings_promise_is_in_the_files(field: str, value: object, tmp_path: Path) -> None:
    """A `modules_to_save` without its tensor disappeared from the result."""
    folder = adapter(tmp_path / "a", **{field: value})
    with pytest.raises(MergeError, match=field):
        robustmerge.merge([folder], tmp_path / "m")


def test_one_of_two_promised_modules(tmp_path: Path) -> None:
    head = {"lm_head.weight": torch.ones(3, 2)}
    folder = adapter(tmp_path / "a", extras=head, modules_to_save=["lm_head", "embed_tokens"])
    with pytest.raises(MergeError, match="names embed_tokens, of which no tensor"):
        Adapter(folder)


def test_a_classifier_has_one_of_two_heads(tmp_path: Path) -> None:
    saved = {"modules_to_save": ["classifier", "score"], "task_type": "SEQ_CLS"}
    Adapter(adapter(tmp_path / "a", extras={"score.weight": torch.ones(3, 2)}, **saved))
    with pytest.raises(MergeError, match="classifier, score"):
        Adapter(adapter(tmp_path / "b", **saved))


ROWS = {"model.embed_tokens.token_adapter.trainable_tokens_delta": torch.ones(2, 16)}


@pytest.mark.parametrize("indices", [None, [3], {"embed_tokens": [3, 4, 5]}, {"lm_head": [3, 4]}])
def test_rows_of_embeddings_belong_to_a_setting(indices: object, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", extras=ROWS, trainable_token_indices=indices)
    with pytest.raises(MergeError, match="2 trained rows in its tensor"):
        Adapter(folder)


@pytest.mark.parametrize("indices", [[3, 4], {"embed_tokens": [3, 4]}])
def test_rows_of_embeddings_as_settings_say(indices: object, tmp_path: Path) -> None:
    Adapter(adapter(tmp_path / "a", extras=ROWS, trainable_token_indices=indices))


def test_a_trained_vision_tower_of_qwen_is_in_the_live_model(tmp_path: Path) -> None:
    """The tower and merger of `non_lora_state_dict.bin`, merged and loaded by PEFT."""
    folders = []
    for seed in (1, 2):
        folder = save_adapter("qwen2_vl", tmp_path / f"{seed}", seed=seed)
        trained = {
            f"base_model.model.{name}": tensor.detach() + 0.1 * seed
            for name, tensor in build("qwen2_vl").named_parameters()
            if ".visual." in name
        }
        torch.save(trained, folder / "non_lora_state_dict.bin")
        folders.append(folder)
    robustmerge.merge(folders, tmp_path / "m")
    model = attach(build("qwen2_vl"), tmp_path / "m")
    landed(model, tmp_path / "m")
    trained_bias = build("qwen2_vl").model.visual.merger.mlp[0].bias + 0.15
    merger = model.get_base_model().model.visual.merger.mlp[0]
    torch.testing.assert_close(merger.modules_to_save["default"].bias, trained_bias)
