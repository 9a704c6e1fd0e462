"""Merging fused experts on a live PeftModel: as from folders, and as PEFT computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

import robustmerge
from factories.experts import FAMILIES, TEXT, batch, qwen, seeded, targets, trained
from robustmerge.errors import MergeError
from robustmerge.peft import add_merged_adapter, collect, landed


def load_two(root: Path, family: str, **settings: Any) -> PeftModel:
    """Return a model with two adapters, a and b, which are in folders, too."""
    build, parameters = FAMILIES[family]
    for seed, name in enumerate("ab"):
        trained(build, root / name, seed, target_parameters=parameters, **settings)
    model = PeftModel.from_pretrained(seeded(build), str(root / "a"), "a")
    model.load_adapter(str(root / "b"), "b")
    return model.eval()


@pytest.mark.parametrize("settings", [{}, {"method": "task-arithmetic", "rank": "full"}])
@pytest.mark.parametrize("family", FAMILIES)
def test_fused_experts_are_merged_as_from_folders(
    tmp_path: Path, family: str, settings: dict[str, Any]
) -> None:
    model = load_two(tmp_path, family, target_modules=["q_proj"])
    before = model(**batch(family)).logits
    added = add_merged_adapter(model, ["a", "b"], "m", **settings)
    assert torch.equal(model(**batch(family)).logits, before)
    report = robustmerge.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m", **settings)
    assert [line.energy for line in added.modules] == [line.energy for line in report.modules]
    landed(model, tmp_path / "m", "m")
    model.set_adapter("m")
    loaded = PeftModel.from_pretrained(seeded(FAMILIES[family][0]), str(tmp_path / "m")).eval()
    merged = model(**batch(family)).logits
    assert torch.equal(merged, loaded(**batch(family)).logits)
    assert (merged - before).abs().max() > 0.01


def test_an_adapter_without_experts_is_no_update_there(tmp_path: Path) -> None:
    trained(qwen, tmp_path / "a", 1, target_parameters=targets("mlp"), target_modules=["q_proj"])
    trained(qwen, tmp_path / "b", 2, target_modules=["q_proj", "v_proj"])
    model = PeftModel.from_pretrained(seeded(qwen), str(tmp_path / "b"), "b")
    model.load_adapter(str(tmp_path / "a"), "a")
    add_merged_adapter(model, ["b", "a"], "m", method="task-arithmetic", rank="full")
    folders = [tmp_path / "b", tmp_path / "a"]
    robustmerge.merge(
        folders, tmp_path / "m", method="task-arithmetic", rank="full", missing="zero"
    )
    landed(model, tmp_path / "m", "m")


def test_what_needs_the_inputs_of_a_layer_is_refused(tmp_path: Path) -> None:
    model = load_two(tmp_path, "Qwen3-MoE")
    with pytest.raises(MergeError, match="does not go through parameters"):
        add_merged_adapter(model, ["a", "b"], "m", method="relay", samples=["x", "y"])
    with pytest.raises(MergeError, match="whose inputs no layer has"):
        collect(model, {"a": [TEXT], "b": [TEXT]})
    assert set(model.peft_config) == {"a", "b"}
