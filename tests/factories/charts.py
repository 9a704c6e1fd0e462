"""Diagnoses to draw, and the marks of a drawing."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html import unescape
from typing import Any

import torch
import vl_convert

from robustmerge.diagnosis.pooled import ModuleLocation
from robustmerge.diagnosis.report.chart import Chart
from robustmerge.diagnosis.report.page import VEGA_LITE
from robustmerge.diagnosis.survey import ModuleInputs, Row, survey_module
from robustmerge.diagnosis.tables import Diagnosis
from robustmerge.factors import Factors, Stack

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@cache
def small() -> Diagnosis:
    """Return a diagnosis of two layers and a connector, three adapters, two merges."""
    positions = [("language", layer, p) for layer in (0, 1) for p in ("q_proj", "v_proj")]
    return _diagnosis([*positions, ("connector", None, "linear_1")], 3, 2, rank=4, width=24)


@cache
def alone() -> Diagnosis:
    """Return a diagnosis of three adapters in one module outside of layers, without a merge."""
    return _diagnosis([("connector", None, "linear_1")], 3, 0, rank=2, width=12)


@cache
def large() -> Diagnosis:
    """Return a diagnosis of LLaVA-7B's modules, eight adapters, four merges; layers are copies."""
    layer_diagnosis = _diagnosis(
        [("language", 0, p) for p in PROJECTIONS], 8, 4, rank=16, width=144
    )
    modules = [
        replace(m, module=f"{layer}.{m.module}", layer=layer)
        for layer in range(32)
        for m in layer_diagnosis.modules
    ]
    tables = {
        name: tuple(
            replace(row, module=f"{layer}.{row.module}")
            for layer in range(32)
            for row in getattr(layer_diagnosis, name)
        )
        for name in ("spectra", "values", "pairs", "signs", "crowding", "apart", "total")
    }
    after = {
        name: tuple(
            replace(row, module=f"{layer}.{row.module}")
            for layer in range(32)
            for row in getattr(layer_diagnosis, name)
        )
        for name in ("heard", "directions", "kept", "noise")
    }
    return replace(layer_diagnosis, modules=tuple(modules), **tables, **after)


def _diagnosis(
    positions: list[tuple[Any, int | None, str]],
    adapters: int,
    merges: int,
    *,
    rank: int,
    width: int,
) -> Diagnosis:
    names = [f"task-{t}" for t in range(adapters)]
    made = [f"merge-{m}" for m in range(merges)]
    generator = torch.Generator().manual_seed(0)
    rows: list[Row] = []
    modules = []
    for tower, layer, projection in positions:
        name = f"{tower}.{layer}.{projection}"
        updates = [_factors(rank, width, generator) for _ in names]
        total = Factors(
            torch.cat([f.A for f in updates]), torch.cat([f.B for f in updates], dim=1) * 0.7
        )
        merged = [total, *updates][:merges]
        inputs = ModuleInputs(Stack.of(updates, module=name), tuple(merged), 5.0)
        rows += survey_module(inputs, names, made)
        modules.append(ModuleLocation(name, tower, layer, projection, width, width, adapters))
    return Diagnosis.of(rows, modules, adapters=names, merged=made, base="base", notes=["a note"])


def _factors(rank: int, width: int, generator: torch.Generator) -> Factors:
    A = torch.randn(rank, width, generator=generator)
    B = torch.randn(width, rank, generator=generator) * torch.logspace(0, -1, rank)
    return Factors(A, B)


def read_marks(figure: Chart, **choices: str) -> list[dict[str, str]]:
    """Return the marks of the drawing by their ARIA labels, with menus set to choices."""
    spec = figure.spec(600)
    for param in spec.get("params", ()):
        if param["name"] in choices:
            assert choices[param["name"]] in param["bind"]["options"]
            param["value"] = choices.pop(param["name"])
    assert not choices
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    labels = [unescape(x) for x in re.findall(r'aria-label="([^"]*;[^"]*)"', svg)]
    return [dict(part.split(": ", 1) for part in label.split("; ")) for label in labels]
