"""From folders to tables: missing modules, bases, names, workers, and invalid inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import robustmerge
from factories.adapters import LLM, adapter, deltas, trio
from robustmerge import MergeError
from robustmerge.diagnosis.run import short_names
from robustmerge.diagnosis.tables import POOLED, ROWS

SUMMED = {"method": "task-arithmetic", "rank": "full", "dtype": "float32"}


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    return trio(tmp_path)


def make_base(folder: Path, missing: str = "") -> Path:
    """Write a base whose i-th weight has norm i √(d_out d_in)."""
    folder.mkdir()
    tensors = {
        f"{name}.weight": torch.full(shape, float(i))
        for i, (name, shape) in enumerate(LLM.items(), 1)
        if name != missing
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_every_table_is_filled(three: list[str], tmp_path: Path) -> None:
    robustmerge.merge(three, tmp_path / "out", **SUMMED)
    diagnosis = robustmerge.diagnose(three, [tmp_path / "out"])
    assert diagnosis.adapters == ("a", "b", "c")
    assert diagnosis.merged == ("out",)
    n = len(LLM)
    rows = {name: len(getattr(diagnosis, name)) for name in ROWS}
    assert rows == {
        "modules": n,
        "spectra": 4 * n,
        "values": 9 * n,
        "pairs": 3 * n,
        "signs": n,
        "crowding": 2 * n,
        "apart": n,
        "total": n,
        "heard": 3 * n,
        "directions": 6 * n,
        "kept": 3 * n,
        "noise": n,
        "histograms": 9 * 3,  # of three projections
        "curves": 3 * 4 * 3,  # adapters, directions, projections
    }
    location = next(m for m in diagnosis.modules if m.projection == "q_proj")
    assert (location.tower, location.layer, location.projection) == ("language", 0, "q_proj")
    assert (location.d_out, location.d_in, location.adapters) == (24, 16, 3)
    for row in diagnosis.kept:
        assert row.both == pytest.approx(1)
    for row in diagnosis.noise:
        assert row.tasks == pytest.approx(1)


def test_scalings_count(three: list[str]) -> None:
    diagnosis = robustmerge.diagnose(three[:1])
    for row in diagnosis.spectra:
        assert row.norm == pytest.approx(float(deltas(three[0])[row.module].norm()))
    assert diagnosis.pairs == ()
    assert diagnosis.signs[0].opposed == 0


def test_change_relative_to_the_base(three: list[str], tmp_path: Path) -> None:
    robustmerge.merge(three, tmp_path / "out", **SUMMED)
    diagnosis = robustmerge.diagnose(three, [tmp_path / "out"], base=make_base(tmp_path / "base"))
    assert diagnosis.base == str(tmp_path / "base")
    assert len(diagnosis.spectra) == 4 * len(LLM)
    for row in diagnosis.spectra:
        d_out, d_in = LLM[row.module]
        size = (list(LLM).index(row.module) + 1) * (d_out * d_in) ** 0.5
        assert row.change == pytest.approx(row.norm / size)


def test_workers_do_not_change_the_tables(three: list[str], tmp_path: Path) -> None:
    robustmerge.merge(three, tmp_path / "out", method="ties")
    seen: list[tuple[int, int]] = []
    sequential, parallel = (
        robustmerge.diagnose(
            three, [tmp_path / "out"], workers=w, progress=lambda *at: seen.append(at)
        )
        for w in (1, 3)
    )
    assert sequential.to_dict() == parallel.to_dict()
    assert seen == 2 * [(i, len(LLM)) for i in range(1, len(LLM) + 1)]


def test_a_missing_module_is_a_zero_update(three: list[str], tmp_path: Path) -> None:
    gone = next(iter(LLM))
    less = {k: v for k, v in LLM.items() if k != gone}
    part = adapter(tmp_path / "part", seed=9, modules=less)
    diagnosis = robustmerge.diagnose([three[0], part])
    (row,) = [r for r in diagnosis.spectra if r.module == gone and r.update == "part"]
    assert (row.rank, row.norm) == (0, 0)
    assert [m.adapters for m in diagnosis.modules if m.module == gone] == [1]
    assert diagnosis.notes == (f"modules that only others have are zero updates: {part} (1)",)
    whole = [p for p in diagnosis.pooled("heard") if p.words["adapter"] == "part"]
    assert whole[0].modules == len(LLM)


def test_different_bases_are_noted(three: list[str], tmp_path: Path) -> None:
    other = adapter(tmp_path / "other", seed=5, base_model_name_or_path="tiny/other")
    (note,) = robustmerge.diagnose([three[0], other]).notes
    assert "tiny/base, tiny/other" in note


def test_invalid_inputs(three: list[str], tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="no adapters"):
        robustmerge.diagnose([])
    with pytest.raises(MergeError, match="a single name"):
        robustmerge.diagnose("vqa")
    with pytest.raises(MergeError, match="a single name"):
        robustmerge.diagnose(three, "out")
    reshaped = adapter(tmp_path / "reshaped", modules={k: (s[0] + 1, s[1]) for k, s in LLM.items()})
    with pytest.raises(MergeError, match="disagree on the shape"):
        robustmerge.diagnose([three[0], reshaped])
    renamed = {k.replace("layers", "blocks"): s for k, s in LLM.items()}
    unrelated = adapter(tmp_path / "unrelated", modules=renamed)
    with pytest.raises(MergeError, match="no module of the adapters") as error:
        robustmerge.diagnose(three, [unrelated])
    assert str(unrelated) in error.value.where
    less = make_base(tmp_path / "less", missing=next(iter(LLM)))
    with pytest.raises(MergeError, match="has no weight of") as error:
        robustmerge.diagnose(three, base=less)
    assert next(iter(LLM)) in error.value.problem
    with pytest.raises(MergeError, match="0 workers"):
        robustmerge.diagnose(three, workers=0)


def test_names_are_the_shortest_that_differ() -> None:
    assert short_names(["x/vqa", "y/ocr/"]) == ("vqa", "ocr")
    assert short_names(["x/vqa", "y/vqa", "/z/ocr"]) == ("x/vqa", "y/vqa", "z/ocr")
    assert short_names(["x/vqa", "x/vqa"]) == ("vqa (1)", "vqa (2)")
    assert short_names(["owner/name@main:vqa"]) == ("name@main:vqa",)
    assert short_names(["vqa", "x/vqa"]) == ("vqa", "x/vqa")


def test_json_has_every_column_and_no_number_it_cannot_write(three: list[str]) -> None:
    diagnosis = robustmerge.diagnose(three)
    record = json.loads(json.dumps(diagnosis.to_dict(), allow_nan=False))
    assert set(record["tables"]) == set(ROWS)
    assert set(record["pooled"]) == set(POOLED)
    assert record["schema"] == 1
    for name, columns in record["tables"].items():
        assert len({len(column) for column in columns.values()}) == 1, name
    assert record["tables"]["noise"]["cross"] == []
    norms = record["tables"]["spectra"]["norm"]
    assert norms == pytest.approx([row.norm for row in diagnosis.spectra], rel=1e-5)
    first = record["pooled"]["pairs"][0]
    assert (first["first"], first["second"], first["modules"]) == ("a", "b", len(LLM))
    assert set(first["cosine"]) == {"mean", "weighted", "low", "median", "high"}
