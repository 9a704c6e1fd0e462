"""The rows of `families` are complete and do not contradict one another."""

from __future__ import annotations

import re

import pytest

from factories.families import FAMILIES as BUILT
from robustmerge.families import (
    BY_MODULE,
    BY_NAME,
    FAMILIES,
    HF_OLD,
    HF_OLD_NAMES,
    LAYOUTS,
    NOT_LANGUAGE,
    ORIGINAL,
    Family,
    ModuleInput,
)

families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def test_every_family_is_built_in_these_tests() -> None:
    assert set(BUILT) == set(BY_NAME)
    assert len(BY_NAME) == len(FAMILIES)


@families
def test_the_title_names_the_family(family: Family) -> None:
    name = re.sub(r"[\s._]+", "-", family.title.lower())
    assert next(f for f in FAMILIES if re.search(f.base_name, name)) is family


@families
def test_names_are_names_of_families(family: Family) -> None:
    assert {*family.also, ORIGINAL} <= set(BY_NAME)
    assert any(family.name in candidates for _, candidates in BY_MODULE)
    assert (HF_OLD in family.anatomy.written) == (family.name in HF_OLD_NAMES)


@families
def test_what_is_not_the_language_model_is_excluded(family: Family) -> None:
    anatomy = family.anatomy
    for part in filter(None, (anatomy.vision, anatomy.connector, *family.projector)):
        assert re.fullmatch(NOT_LANGUAGE, f"model.{part}.layers.0.x")
    assert not re.fullmatch(NOT_LANGUAGE, f"model.{anatomy.language}.layers.0.x")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_writes_a_prefix_in_one_way(layout: str) -> None:
    pairs = {pair for family in FAMILIES for pair in family.anatomy.written.get(layout, ())}
    assert len({old for old, _ in pairs}) == len({new for _, new in pairs}) == len(pairs)


def test_a_prefix_is_read_in_one_way() -> None:
    written = [p for f in FAMILIES for pairs in f.anatomy.written.values() for p in pairs]
    read = {(new, old) for old, new in written if new != "model"}
    read |= {pair for family in FAMILIES for pair in family.anatomy.read}
    assert len({old for old, _ in read}) == len(read)


@pytest.mark.parametrize(
    ("module", "alike", "other"),
    [
        ("model.language_model.layers.3.self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"),
        ("model.language_model.layers.3.mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj"),
        ("model.vision_tower.encoder.layers.3.self_attn.k_proj", "self_attn.q_proj", "mlp.fc1"),
    ],
)
def test_modules_that_read_one_input(module: str, alike: str, other: str) -> None:
    layer = module[: module.index(".3.") + 2]
    read = ModuleInput.of(module)
    assert ModuleInput.of(f"{layer}.{alike}") == read
    assert ModuleInput.of(f"{layer}.{other}").name != read.name
    assert ModuleInput.of(f"{layer}.{other}").stream == read.stream == layer
    elsewhere = ModuleInput.of(f"{layer.replace('.3', '.4')}.{alike}")
    assert elsewhere.stream != read.stream


@pytest.mark.parametrize("leaf", ["self_attn.o_proj", "mlp.down_proj", "mlp.fc2", "unknown"])
def test_others_read_an_input_of_their_own(leaf: str) -> None:
    module = f"model.language_model.layers.0.{leaf}"
    assert ModuleInput.of(module) == ModuleInput(module, module)


def test_an_expert_reads_a_stream_of_its_own() -> None:
    layer = "model.layers.3.mlp"
    gate, up, other, shared = (
        ModuleInput.of(f"{layer}.{name}_proj")
        for name in ("experts.7.gate", "experts.7.up", "experts.8.gate", "shared_expert.gate")
    )
    assert gate == up
    assert gate.stream != other.stream
    assert shared.stream == ModuleInput.of("model.layers.3.self_attn.q_proj").stream
