"""Adapters, merges and bases that differ: notes and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import robustmerge
from factories.adapters import LLM, adapter, deltas
from robustmerge import MergeError

FIRST, *REST = LLM


def dora(folder: Path) -> Path:
    magnitudes = {
        f"{name}.lora_magnitude_vector": torch.ones(d_out) for name, (d_out, _) in LLM.items()
    }
    return adapter(folder, use_dora=True, extras=magnitudes)


def test_every_merge_has_rows_of_its_own(tmp_path: Path) -> None:
    merges = [adapter(tmp_path / name, seed=seed) for seed, name in ((7, "x"), (8, "y"))]
    diagnosis = robustmerge.diagnose([adapter(tmp_path / "one"), adapter(tmp_path / "two")], merges)
    norms = {
        (merge.name, module): float(delta.norm())
        for merge in merges
        for module, delta in deltas(merge).items()
    }
    rows = {(row.update, row.module): row for row in diagnosis.spectra if row.kind == "merge"}
    assert {key: row.norm for key, row in rows.items()} == pytest.approx(norms)
    weights = {(row.merged, row.module): row.weight for row in diagnosis.noise}
    assert weights == pytest.approx({key: norm**2 for key, norm in norms.items()})


def test_updates_without_their_magnitudes_are_noted(tmp_path: Path) -> None:
    first, second = adapter(tmp_path / "one"), dora(tmp_path / "dora")
    for diagnosis in (
        robustmerge.diagnose([first, second]),
        robustmerge.diagnose([first], [second]),
    ):
        (note,) = diagnosis.notes
        assert "of DoRA adapters the updates B A are looked at" in note


def test_a_merge_of_another_base_is_noted(tmp_path: Path) -> None:
    merge = adapter(tmp_path / "merge", base_model_name_or_path="tiny/other")
    (note,) = robustmerge.diagnose([adapter(tmp_path / "one")], [merge]).notes
    assert note.endswith("tiny/base, tiny/other")


def test_a_module_that_only_the_merge_has_is_unattributed(tmp_path: Path) -> None:
    less = adapter(tmp_path / "less", modules={name: LLM[name] for name in REST})
    merge = adapter(tmp_path / "merge", seed=3)
    diagnosis = robustmerge.diagnose([less], [merge])
    assert [m.adapters for m in diagnosis.modules if m.module == FIRST] == [0]
    assert [row.outside for row in diagnosis.noise if row.module == FIRST] == [1]


def test_a_merge_needs_a_module_of_any_adapter(tmp_path: Path) -> None:
    first, second = (
        adapter(tmp_path / name, modules={m: LLM[m] for m in modules})
        for name, modules in (("one", [FIRST]), ("other", REST))
    )
    merge = adapter(tmp_path / "merge", modules={REST[0]: LLM[REST[0]]})
    assert robustmerge.diagnose([first, second], [merge]).merged == ("merge",)
    with pytest.raises(MergeError, match="no module of the adapters") as error:
        robustmerge.diagnose([first], [merge])
    assert f"{merge}   {REST[0]}\n{first}   {FIRST}" in error.value.where


def test_a_quantized_base_has_no_norms(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    weights = {f"{m}.weight": torch.zeros(shape, dtype=torch.int8) for m, shape in LLM.items()}
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MergeError, match="stores as I8 the weight of model") as error:
        robustmerge.diagnose([adapter(tmp_path / "one")], base=tmp_path / "base")
    assert str(tmp_path / "base") in error.value.where
    assert "not quantized" in error.value.hint
