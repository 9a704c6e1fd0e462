"""RELAY on a model in memory: the merge of the same adapters' folders, and an untouched model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

import robustmerge
from factories.bases import adapt, lines, llama, text_only, tokenizer
from factories.families import _quiet
from robustmerge.errors import MergeError
from robustmerge.peft import add_merged_adapter
from robustmerge.prompted.guards import Guard
from robustmerge.prompted.walk import Walk

SETTINGS = {"r": 3, "target_modules": ["q_proj", "o_proj", "down_proj"]}
OPTIONS: dict[str, Any] = {"longest": 3, "prompts": 3, "held_out": 1}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with _quiet():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama, samples of two tasks, and adapters as folders."""
    root = tmp_path_factory.mktemp("live")
    llama(root / "base")
    model(root)
    for n, name in enumerate(("one", "two")):
        rows = [{"text": " ".join(f"w{20 * n + k + j}" for j in range(3, 9))} for k in range(5)]
        lines(root / f"{name}.jsonl", rows)
    return root


def model(root: Path | None = None) -> PeftModel:
    """The same model with three adapters, one of which is not merged."""
    wider = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
    return adapt(text_only(), {"one": SETTINGS, "two": wider, "other": SETTINGS}, root)


def added(root: Path, live: PeftModel, **options: Any) -> robustmerge.peft.AddedAdapter:
    files = [root / "one.jsonl", root / "two.jsonl"]
    settings: dict[str, Any] = {"method": "relay", "samples": files, "processor": tokenizer()}
    return add_merged_adapter(live, ["one", "two"], "m", **settings | OPTIONS | options)


def state(live: PeftModel) -> dict[str, Any]:
    values = {n: p.detach().clone() for n, p in live.named_parameters() if ".m." not in n}
    return {
        "values": values,
        "gradients": {n: p.requires_grad for n, p in live.named_parameters() if ".m." not in n},
        "training": {n: m.training for n, m in live.named_modules() if not n.endswith(".m")},
        "active": (live.active_adapter, live.active_adapters),
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in live.modules()),
        "forwards": sum("forward" in vars(m) for m in live.modules()),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, value in before.pop("values").items():
        assert torch.equal(value, after["values"][name]), name
    del after["values"]
    assert before == after


def stored(live: PeftModel) -> dict[str, Tensor]:
    return {
        name.replace(".m.", "."): parameter.detach()
        for name, parameter in live.named_parameters()
        if ".lora_" in name and ".m." in name
    }


def test_the_merge_of_the_folders(root: Path, tmp_path: Path) -> None:
    live = model()
    report = added(root, live)
    folders, files = [root / "one", root / "two"], [root / "one.jsonl", root / "two.jsonl"]
    robustmerge.relay(folders, tmp_path / "out", root / "base", files, missing="zero", **OPTIONS)
    wanted = load_file(tmp_path / "out" / "adapter_model.safetensors")
    ours = stored(live)
    assert ours.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6)
    assert [task["adapter"] for task in report.facts.record["tasks"]] == ["one", "two"]
    assert report.facts.lines["one"].startswith("3 prompts")
    assert report.rank == 4


@pytest.mark.parametrize("training", [True, False])
def test_nothing_else_changes(root: Path, training: bool) -> None:
    live = model()
    live.base_model.set_adapter(["other", "one"])
    live.train(training)
    next(live.parameters()).requires_grad_(True)
    before = state(live)
    added(root, live)
    assert_same(before, state(live))


@pytest.mark.parametrize("place", [(Walk, "_step"), (Guard, "qualities")])
def test_nothing_changes_after_an_error(
    root: Path, place: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = model()
    live.set_adapter("other")
    live.train()
    before = state(live)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*place, stop)
    with pytest.raises(KeyboardInterrupt):
        added(root, live)
    assert "m" not in live.peft_config
    assert_same(before, state(live))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"samples": []}, "0 files of samples for 2 adapters"),
        ({"scale": "norm-matched"}, "scale rule"),
        ({"rank": "energy:0.9"}, "rank by energy"),
        ({"precision": "bfloat16"}, "precision is about a model that is loaded"),
        ({"offload": True}, "offload is about a model that is loaded"),
        ({"activations": "disk"}, "activations is about a model that is loaded"),
        ({"processor": None}, "where its processor is"),
        ({"method": "task-arithmetic"}, "reads no samples"),
        ({"method": "distill"}, "trains a model that it loads"),
    ],
)
def test_what_is_refused(root: Path, options: dict[str, Any], problem: str) -> None:
    live = model()
    before = state(live)
    files = [root / "one.jsonl", root / "two.jsonl"]
    settings: dict[str, Any] = {"method": "relay", "samples": files, "processor": tokenizer()}
    own = {} if "method" in options else OPTIONS
    with pytest.raises(MergeError) as error:
        add_merged_adapter(live, ["one", "two"], "m", **settings | own | options)
    assert problem in str(error.value)
    assert error.value.hint
    assert_same(before, state(live))


def test_weights_that_are_not_in_memory_are_refused(root: Path) -> None:
    live = model()
    embeddings = live.get_input_embeddings()
    embeddings.weight = torch.nn.Parameter(embeddings.weight.to("meta"))
    with pytest.raises(MergeError, match="on disk or on another device"):
        added(root, live)
