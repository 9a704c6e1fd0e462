"""Figures show the numbers of the tables: numbers are read from the drawings."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from statistics import NormalDist, fmean
from types import SimpleNamespace

import pytest

from factories.charts import alone, large, read_marks, small
from robustmerge.diagnosis.report.chart import ALL_ADAPTERS, ALL_PROJECTIONS, Chart, list_layers
from robustmerge.diagnosis.report.figures import draw_figures
from robustmerge.diagnosis.report.spectra import draw_spectra

BEFORE = (
    *("matrix-cosine", "matrix-inputs", "matrix-outputs", "matrix-weighted-sign-conflict"),
    *("spectra", "spectra-by-depth"),
    *("map-norm", "map-change", "map-effective-rank", "map-head-to-tail"),
    *("depth", "histograms"),
)
AFTER = ("whose", "kept", "directions", "largest-and-rest", "map-kept")


@cache
def drawn_of_small() -> dict[str, Chart]:
    return {chart.name: chart for chart in draw_figures(small())}


def figure(name: str) -> Chart:
    return drawn_of_small()[name]


def number(text: str) -> float:
    """Parse a number of a drawing."""
    return float(text.replace("−", "-").replace(",", ""))


def close(drawn: str, value: float, by: float = 6e-3) -> bool:
    return math.isclose(number(drawn), value, rel_tol=by, abs_tol=by)


def test_figures_without_data_are_left_out() -> None:
    assert list(drawn_of_small()) == [*BEFORE, *AFTER]
    assert {figure(name).part for name in BEFORE} == {"before"}
    assert {figure(name).part for name in AFTER} == {"after"}
    missing = {"depth", "spectra-by-depth", *AFTER}
    assert [f.name for f in draw_figures(alone())] == [n for n in BEFORE if n not in missing]
    spectra = tuple(replace(row, change=None) for row in small().spectra)
    names = [f.name for f in draw_figures(replace(small(), spectra=spectra))]
    assert names == [n for n in (*BEFORE, *AFTER) if n != "map-change"]


def test_one_layer_has_no_depth_and_modules_in_one_position_are_averaged() -> None:
    modules = tuple(replace(m, layer=m.layer and 0) for m in small().modules)
    charts = {f.name: f for f in draw_figures(replace(small(), modules=modules))}
    assert not {"depth", "spectra-by-depth"} & set(charts)
    drawn = read_marks(charts["map-norm"], update="task-1")
    (mark,) = (m for m in drawn if m["projection"] == "language q_proj")
    rows = [row for row in small().spectra if row.update == "task-1"]
    assert close(mark["value"], fmean(r.norm for r in rows if r.module.endswith("q_proj")))


def test_positions_name_the_tower_if_there_are_several() -> None:
    assert list_layers(small()) == ["0", "1", "–"]
    assert list_layers(large()) == [str(layer) for layer in range(32)]
    (mark,) = read_marks(next(f for f in draw_figures(alone()) if f.name == "map-norm"))
    assert (mark["projection"], mark["layer"]) == ("linear_1", "–")
    (chart, *_) = draw_figures(alone())
    assert chart.spec()["params"][0]["bind"]["options"] == [ALL_PROJECTIONS, "linear_1"]


def test_menus_are_labeled() -> None:
    (menu, *_) = figure("directions").spec()["params"]
    labels = dict(zip(menu["bind"]["options"], menu["bind"]["labels"], strict=True))
    assert labels["answer"] == "output cosine"
    assert labels["left"] == "left vectors, by index"
    assert labels["right_matched"] == "right, matched"
    assert labels["ratio"] == "ratio of singular values"


@pytest.mark.parametrize("name", [*BEFORE, *AFTER])
def test_a_figure_has_a_lead_and_is_drawn(name: str) -> None:
    chart = figure(name)
    assert chart.lead.endswith(".")
    assert all(source.__doc__ for source in chart.sources)
    spec = chart.spec()  # Altair checks it against Vega-Lite's schema
    assert spec["width"] == "container"
    assert "config" not in spec  # a page has its own style
    assert "http" not in str({k: v for k, v in spec.items() if k != "$schema"})
    assert read_marks(chart)


@pytest.mark.parametrize("measure", ["cosine", "inputs", "outputs", "weighted_sign_conflict"])
@pytest.mark.parametrize("projection", [ALL_PROJECTIONS, "language v_proj"])
def test_matrices(measure: str, projection: str) -> None:
    by = "model" if projection == ALL_PROJECTIONS else "projection"
    wanted = {}
    for row in small().pooled("pairs", by=by):
        if row.group in ("model", projection):
            first, second = row.words["first"], row.words["second"]
            wanted[first, second] = wanted[second, first] = row[measure].weighted
    drawn = read_marks(figure("matrix-" + measure.replace("_", "-")), projection=projection)
    assert len(wanted) == 6
    assert len(drawn) == 12  # squares, and numbers in them
    for mark in drawn:
        assert close(mark[measure.replace("_", " ")], wanted[mark["first"], mark["second"]])
        if measure in ("inputs", "outputs"):
            assert mark["by chance"] == "0.167"  # rank 4 of width 24


@pytest.mark.parametrize("measure", ["norm", "change", "effective_rank", "head_to_tail"])
@pytest.mark.parametrize("update", [ALL_ADAPTERS, "task-1", "merge-0"])
def test_maps(measure: str, update: str) -> None:
    drawn = read_marks(figure("map-" + measure.replace("_", "-")), update=update)
    those = small().adapters if update == ALL_ADAPTERS else (update,)
    assert len(drawn) == 5
    for mark in drawn:
        module = _module(mark)
        values = [
            getattr(row, measure)
            for row in small().spectra
            if row.module == module and row.update in those
        ]
        assert close(mark["value"], fmean(values))


def _module(mark: dict[str, str]) -> str:
    layer = "None" if mark["layer"] == "–" else mark["layer"]
    return mark["projection"].replace(" ", f".{layer}.")


def test_map_of_retention() -> None:
    drawn = read_marks(figure("map-kept"), merged="merge-1", adapter="task-2")
    wanted = {
        row.module: row.coefficient
        for row in small().kept
        if (row.merged, row.adapter) == ("merge-1", "task-2")
    }
    for mark in drawn:
        value = wanted[_module(mark)]
        assert value is not None
        assert close(mark["value"], value)
    assert len(drawn) == len(wanted)
    for mark in read_marks(figure("map-kept"), merged="merge-1"):
        rows = [r for r in small().kept if (r.merged, r.module) == ("merge-1", _module(mark))]
        assert close(mark["value"], fmean(r.coefficient or 0 for r in rows))


def test_spectra() -> None:
    for mark in read_marks(figure("spectra")):
        if "share" in mark:
            rows = [row for row in small().spectra if row.update == mark["update"]]
            index = int(mark["index"]) - 1
            assert close(mark["share"], fmean(row.values[index] / row.norm for row in rows))


def test_spectra_by_depth() -> None:
    drawn = read_marks(figure("spectra-by-depth"), update="task-1", projection="language q_proj")
    rows = {row.module: row for row in small().spectra if row.update == "task-1"}
    assert {mark["layer"] for mark in drawn} == {"0", "1"}
    for mark in drawn:
        values = rows[f"language.{mark['layer']}.q_proj"].values
        assert close(mark["value"], values[int(mark["index"]) - 1])
    whole = read_marks(figure("spectra-by-depth"), update="task-1")
    first = next(m for m in whole if (m["layer"], m["index"]) == ("1", "1"))
    both = [rows[f"language.1.{p}"].values[0] for p in ("q_proj", "v_proj")]
    assert close(first["value"], fmean(both))


def test_long_spectra_are_thinned() -> None:
    chart = next(draw_spectra(large()))
    ranks = [int(m["index"]) for m in read_marks(chart) if m.get("update") == "merge-0"]
    assert {1, 2, 3, 128} <= set(ranks)
    assert len(set(ranks)) <= 48


def test_of_many_layers_some_are_drawn_evenly_apart() -> None:
    by_depth = list(draw_spectra(large()))[1]
    drawn = {int(mark["layer"]) for mark in read_marks(by_depth)}
    assert sorted(drawn) == [0, 4, 8, 12, 16, 19, 23, 27, 31]


def test_depth() -> None:
    wanted = {
        "factor-wise cosine": ("apart", "cosine", {}),
        "energy at input rank": ("total", "at_input_rank", {}),
        "sign conflict": ("signs", "opposed", {}),
        "shared inputs": ("crowding", "energy", {"side": "input"}),
        "shared outputs": ("crowding", "energy", {"side": "output"}),
    }
    drawn = [mark for mark in read_marks(figure("depth")) if "mean" in mark]
    assert {mark["quantity"] for mark in drawn} == set(wanted)
    sources = {source.__name__.rpartition(".")[2] for source in figure("depth").sources}
    files = {"apart": "cross_terms", "total": "contributions", "crowding": "shared_directions"}
    assert sources == {files.get(table, table) for table, *_ in wanted.values()}
    for mark in drawn:
        table, measure, words = wanted[mark["quantity"]]
        (row,) = (
            row
            for row in small().pooled(table, by="layer")
            if row.group == f"language {mark['layer']}" and row.words == words
        )
        assert close(mark["mean"], row[measure].mean)
        assert close(mark["10% quantile"], row[measure].low)
        assert close(mark["90% quantile"], row[measure].high)


@pytest.mark.parametrize("matrix", ["A", "delta"])
def test_histograms(matrix: str) -> None:
    drawn = read_marks(figure("histograms"), matrix=matrix, projection="connector linear_1")
    rows = {
        row.adapter: row.counts
        for row in small().histograms
        if (row.module, row.matrix) == ("connector linear_1", matrix)
    }
    points = [m for m in drawn if "adapter" in m and "x" in m]
    assert {m["adapter"] for m in points} == set(rows)
    for mark in points:
        counts = rows[mark["adapter"]]
        index = round((number(mark["x"]) + 4.9) / 0.2)
        assert close(mark["density"], counts[index] / sum(counts) / 0.2)


def test_the_gray_area_is_a_gaussian() -> None:
    (formula,) = (
        step["calculate"]
        for layer in figure("histograms").spec()["layer"]
        for step in layer.get("transform", ())
        if "calculate" in step
    )
    for x in (0.0, -1.0, 2.5):
        known = {"datum": SimpleNamespace(x=x), "exp": math.exp, "sqrt": math.sqrt, "PI": math.pi}
        assert eval(formula, known) == pytest.approx(NormalDist().pdf(x))


def test_curves_weigh_projections_by_their_modules() -> None:
    for measure in ("answer", "both_matched"):
        drawn = read_marks(figure("directions"), measure=measure, adapter="task-0")
        assert len(drawn) == 2 * (1 + 4)  # lines, and their points
        for mark in drawn:
            rows = [
                row
                for row in small().curves
                if (row.adapter, row.merged) == ("task-0", mark["merged"])
                and row.index == int(mark["index"])
            ]
            assert {row.modules for row in rows} == {1, 2}
            whole = sum(getattr(row, measure) * row.modules for row in rows)
            assert close(mark["value"], whole / sum(row.modules for row in rows))


def test_curves_of_one_projection() -> None:
    drawn = read_marks(figure("directions"), adapter="task-1", projection="language q_proj")
    wanted = {
        (row.merged, row.index): row.answer
        for row in small().curves
        if (row.adapter, row.module) == ("task-1", "language q_proj")
    }
    for mark in drawn:
        assert close(mark["value"], wanted[mark["merged"], int(mark["index"])])
    assert len(drawn) == 2 * (1 + 4)


def test_largest_and_rest() -> None:
    drawn = read_marks(figure("largest-and-rest"), measure="gain")
    wanted = {
        (p.words["merged"], p.words["adapter"], p.words["part"]): p["gain"].mean
        for p in small().pooled("directions")
    }
    assert len(drawn) == len(wanted) + 4
    for mark in drawn:
        if "adapter" in mark:
            assert close(mark["value"], wanted[mark["merged"], mark["adapter"], mark["part"]])
        else:
            ways = [
                v for (m, _, p), v in wanted.items() if (m, p) == (mark["merged"], mark["part"])
            ]
            assert close(mark["mean"], fmean(ways))


def test_energy_by_origin_and_retention() -> None:
    names = {"span of the updates": "tasks", "cross terms": "cross", "unattributed": "outside"}
    wanted = {row.words["merged"]: row for row in small().pooled("noise")}
    drawn = read_marks(figure("whose"))
    assert len(drawn) == 8
    for mark in drawn:
        part = names.get(mark["part"], mark["part"])
        assert number(mark["share"].rstrip("%")) == pytest.approx(
            100 * wanted[mark["merged"]][part].weighted, abs=0.06
        )
    held = {(p.words["merged"], p.words["adapter"]): p for p in small().pooled("kept")}
    cells = read_marks(figure("kept"))
    assert len(cells) == 12
    for mark in cells:
        row = held[mark["merged"], mark["adapter"]]
        assert close(mark["coefficient"], row["coefficient"].weighted)
        assert close(mark["cosine"], row["cosine"].weighted)
