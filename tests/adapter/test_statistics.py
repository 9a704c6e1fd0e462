"""Statistics on disk: whose they are, in which order, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import robustmerge
from factories.adapters import LLM, adapter
from factories.statistics_methods import by_activity, by_fisher, register
from faults.refuse import refused
from robustmerge.adapter.reader import Adapter
from robustmerge.adapter.statistics import FILE, Statistics
from robustmerge.collect.live import AdapterStatistics
from robustmerge.collect.write import save
from robustmerge.factors import Factors, Stack
from robustmerge.statistic_kinds import KINDS, KindName

NEEDS = ("gram", "squares", "count", "fisher_A", "fisher_B")
LACKING = {name: shape for name, shape in LLM.items() if "layers.1" not in name}
ODD = "model.language_model.layers.1.mlp.down_proj"


def gathered(
    sources: Sequence[Path], kinds: Sequence[KindName] = ("gram", "fisher")
) -> list[AdapterStatistics]:
    """Numbers of the right shapes, all different."""
    opened = [Adapter(source) for source in sources]
    generator = torch.Generator().manual_seed(0)
    result = []
    for item in opened:
        tensors: dict[str, Tensor] = {}
        for name, (d_out, d_in) in LLM.items():
            R = sum(a.modules[name].rank for a in opened if name in a.modules)
            shapes: dict[str, tuple[int, ...]] = {"gram": (R, R), "squares": (d_in,), "count": (1,)}
            if name in item.modules:
                rank = item.modules[name].rank
                shapes |= {"fisher_A": (rank, d_in), "fisher_B": (d_out, rank)}
            for leaf in (leaf for kind in kinds for leaf in KINDS[kind].names if leaf in shapes):
                values = torch.randn(shapes[leaf], generator=generator, dtype=torch.float64)
                tensors[f"{name}.{leaf}"] = values
        ranks = {name: module.rank for name, module in item.modules.items()}
        result.append(AdapterStatistics(item.label, ranks, 5, 50, tensors))
    return result


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Three adapters of ranks 2, 4 and 3, the second without the upper layer."""
    return [
        adapter(tmp_path / "a", seed=0, rank=2),
        adapter(tmp_path / "b", seed=1, rank=4, modules=LACKING),
        adapter(tmp_path / "c", seed=2, rank=3),
    ]


@pytest.fixture
def folder(tmp_path: Path, sources: list[Path]) -> Path:
    save(gathered(sources), sources, tmp_path / "stats")
    return tmp_path / "stats"


def read(folder: Path, sources: Sequence[Path], name: str) -> tuple[Any, ...]:
    selection = Statistics(folder).select([Adapter(s) for s in sources], LLM, NEEDS)
    try:
        return selection.module(name, LLM[name])
    finally:
        selection.statistics.close()


def rows(ranks: Sequence[int], chosen: Sequence[int]) -> list[int]:
    """Where the rows of the chosen adapters stand among those of all."""
    return [sum(ranks[:n]) + k for n in chosen for k in range(ranks[n])]


@pytest.mark.parametrize("name", LLM)
@pytest.mark.parametrize("chosen", [(0, 1, 2), (2, 0), (1, 2, 0), (0, 0)], ids=str)
def test_any_of_the_adapters_in_any_order(
    folder: Path, sources: list[Path], tmp_path: Path, chosen: tuple[int, ...], name: str
) -> None:
    moved = []
    for location, n in enumerate(chosen):  # adapters are recognized by their weights alone
        moved.append(tmp_path / "moved" / str(location))
        shutil.copytree(sources[n], moved[-1])
    wanted = gathered(sources)
    ranks = [item.ranks.get(name, 0) for item in wanted]
    at = rows(ranks, chosen)
    for table, n in zip(read(folder, moved, name), chosen, strict=True):
        assert list(table) == list(NEEDS)
        assert all(tensor.dtype == torch.float64 for tensor in table.values())
        known = wanted[n].tensors
        assert torch.equal(table["gram"], known[f"{name}.gram"][at][:, at])
        for leaf in ("squares", "count"):
            assert torch.equal(table[leaf], known[f"{name}.{leaf}"])
        if ranks[n]:
            assert torch.equal(table["fisher_A"], known[f"{name}.fisher_A"])
            assert torch.equal(table["fisher_B"], known[f"{name}.fisher_B"])
        else:
            assert table["fisher_A"].shape == (0, LLM[name][1])
            assert table["fisher_B"].shape == (LLM[name][0], 0)


def test_twice_the_same_adapter_on_other_samples(tmp_path: Path, sources: list[Path]) -> None:
    twice = [sources[0], sources[0]]
    save(gathered(twice), twice, tmp_path / "stats")
    tables = read(tmp_path / "stats", twice, ODD)
    wanted = gathered(twice)
    for table, item in zip(tables, wanted, strict=True):
        assert torch.equal(table["gram"], item.tensors[f"{ODD}.gram"])


@pytest.mark.parametrize("name", ["regmean-rows", "fisher"])
def test_methods_get_them_in_the_order_of_the_merge(
    folder: Path, sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of two of the three adapters, one of which lacks a layer."""
    register(monkeypatch, name)
    chosen = [str(sources[1]), str(sources[0])]
    settings: dict[str, Any] = {"method": name, "rank": "full", "missing": "zero"}
    robustmerge.merge(chosen, tmp_path / "out", data=folder, dtype="float32", **settings)
    merged = Adapter(tmp_path / "out")
    opened = [Adapter(source) for source in chosen]
    for module, shape in LLM.items():
        lacking = Factors(torch.zeros(0, shape[1]), torch.zeros(shape[0], 0))
        factors = [a.factors(module) if module in a.modules else lacking for a in opened]
        tables = read(folder, [sources[1], sources[0]], module)
        method = {"regmean-rows": by_activity, "fisher": by_fisher}[name]
        wanted = method(replace(Stack.of(factors), data=tables)).dense()
        torch.testing.assert_close(merged.factors(module).dense(), wanted, rtol=1e-4, atol=1e-4)
    for item in (merged, *opened):
        item.close()


def test_the_record(folder: Path, sources: list[Path]) -> None:
    record = json.loads((folder / FILE).read_text())
    assert record["format"] == 1
    assert record["what"] == ["gram", "fisher"]
    assert [e["adapter"] for e in record["adapters"]] == [str(s) for s in sources]
    names = ["1-a.safetensors", "2-b.safetensors", "3-c.safetensors"]
    assert sorted(p.name for p in folder.iterdir()) == [*names, FILE]
    assert [e["file"] for e in record["adapters"]] == names
    assert [(e["samples"], e["tokens"]) for e in record["adapters"]] == [(5, 50)] * 3


def test_another_adapter_is_refused(folder: Path, sources: list[Path], tmp_path: Path) -> None:
    other = adapter(tmp_path / "other", seed=9, rank=2)
    error = refused(
        lambda: read(folder, [sources[0], other], ODD), str(other), "not among the adapters"
    )
    assert all(str(source) in error.where for source in sources)


def test_a_kind_that_was_not_collected(tmp_path: Path, sources: list[Path]) -> None:
    save(gathered(sources, ["gram"]), sources, tmp_path / "stats")
    refused(lambda: read(tmp_path / "stats", sources, ODD), "kind fisher", "--what gram fisher")
    selection = Statistics(tmp_path / "stats").select([Adapter(sources[0])], LLM, ("squares",))
    assert list(selection.module(ODD, LLM[ODD])[0]) == ["squares"]
    selection.statistics.close()


def test_a_missing_module(tmp_path: Path, sources: list[Path]) -> None:
    result = gathered(sources)
    for item in result:
        del item.tensors[f"{ODD}.squares"]  # type: ignore[attr-defined]
    save(result, sources, tmp_path / "stats")
    refused(lambda: read(tmp_path / "stats", sources, ODD), "no squares of the module", ODD)


def test_another_shape(tmp_path: Path, sources: list[Path]) -> None:
    result = gathered(sources)
    result[2].tensors[f"{ODD}.gram"] = torch.zeros(3, 3)  # type: ignore[index]
    save(result, sources, tmp_path / "stats")
    refused(lambda: read(tmp_path / "stats", sources, ODD), "[3, 3] instead of [5, 5]", ODD)


@pytest.mark.parametrize("left", [0, 7, 200, -1])
def test_a_truncated_file(folder: Path, sources: list[Path], left: int) -> None:
    path = folder / "2-b.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    refused(lambda: read(folder, sources, ODD), "not a whole safetensors file", path.name)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"adapters": []},
        {"adapters": {}},
        {"adapters": [7]},
        {"adapters": [{"adapter": "a", "weights": "b", "file": "../a.safetensors", "ranks": {}}]},
        {"adapters": [{"adapter": "a", "weights": "b", "file": "a.safetensors", "ranks": [3]}]},
        {
            "adapters": [
                {"adapter": "a", "weights": "b", "file": "a.safetensors", "ranks": {"x": "3"}}
            ]
        },
        {"adapters": [{"adapter": "a", "weights": 3, "file": "a.safetensors", "ranks": {}}]},
        {"what": 7},
        {"what": "gram"},
    ],
    ids=str,
)
def test_a_damaged_record(folder: Path, sources: list[Path], change: dict[str, Any]) -> None:
    record = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(record | change))
    refused(
        lambda: read(folder, sources, ODD), "of format" if "format" in change else "not a record"
    )


def test_ranks_that_are_not_the_adapter_s(folder: Path, sources: list[Path]) -> None:
    record = json.loads((folder / FILE).read_text())
    record["adapters"][0]["ranks"][ODD] = 3
    record["adapters"][2]["ranks"][ODD] = 2
    (folder / FILE).write_text(json.dumps(record))
    refused(lambda: read(folder, sources, ODD), "other ranks", str(sources[0]))


def test_no_folder_and_another_folder(tmp_path: Path, sources: list[Path]) -> None:
    refused(lambda: read(tmp_path / "nowhere", sources, ODD), "no such folder")
    refused(lambda: read(sources[0], sources, ODD), f"no {FILE}")


def test_a_missing_file(folder: Path, sources: list[Path]) -> None:
    (folder / "3-c.safetensors").unlink()
    refused(lambda: read(folder, sources, ODD), "3-c.safetensors", "cannot read")


def test_saved_for_other_adapters(tmp_path: Path, sources: list[Path]) -> None:
    result = gathered(sources)
    output = tmp_path / "new" / "stats"
    for wrong in (sources[::-1], sources[:2], [*sources, sources[0]]):
        refused(lambda wrong=wrong: save(result, wrong, output))
        assert not output.parent.exists()


def test_what_is_replaced(folder: Path, sources: list[Path]) -> None:
    result = gathered(sources, ["gram"])
    refused(lambda: save(result, sources, folder), "exists", "--force")
    save(result, sources, folder, force=True)
    assert Statistics(folder).what == ("gram",)
    before = sorted(sources[0].iterdir())
    refused(lambda: save(result, sources[1:], sources[0], force=True), "not a folder of statistics")
    refused(lambda: save(result, sources, sources[0], force=True), "would replace an input")
    assert sorted(sources[0].iterdir()) == before


def test_labels_that_are_no_file_names(tmp_path: Path) -> None:
    odd = adapter(tmp_path / "ä b[x]", rank=2)
    save(gathered([odd]), [odd], tmp_path / "stats")
    assert read(tmp_path / "stats", [odd], ODD)
    assert all(p.name.isascii() for p in (tmp_path / "stats").iterdir())
