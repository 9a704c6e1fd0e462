"""A merge at another scale is B times a factor: what merging again gives, without merging."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from factories.adapters import adapter, deltas, trio
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Override, Recipe
from robustmerge.tuning.scaled import MergeStore, scale_of, unscaled

PROJECTOR = "model.multi_modal_projector.linear_1.weight"


@pytest.mark.parametrize("method", ["drift", "ties", "tsv-m", "average"])
@pytest.mark.parametrize("rank", ["input", "full", "energy:0.8"])
def test_a_rescaled_merge_is_the_merge_at_that_scale(
    tmp_path: Path, method: str, rank: str
) -> None:
    recipe = Recipe(
        tuple(trio(tmp_path)),
        method=method,
        rank=rank,
        scale=0.37,
        modules=(Override("*.q_proj", scale=2.5), Override("*.mlp.*", weights=(1.0, 2.0, 3.0))),
    )
    merge_recipe(recipe, tmp_path / "direct")
    with closing(MergeStore(tmp_path)) as store, store.merged(recipe) as folder:
        wanted, rescaled = deltas(tmp_path / "direct"), deltas(folder)
        assert (store.spent.merges, store.spent.rescaled) == (1, 1)
    assert wanted.keys() == rescaled.keys()
    for name, delta in wanted.items():
        torch.testing.assert_close(rescaled[name], delta, rtol=2e-5, atol=1e-6 * delta.abs().max())
    assert not list(tmp_path.glob(".merges-*"))


def test_one_merge_serves_all_scales_and_others_do_not(tmp_path: Path) -> None:
    recipe = Recipe(tuple(trio(tmp_path)), method="ties", samples=("unread.jsonl",))
    with closing(MergeStore(tmp_path)) as store:
        for scale in (0.5, 1.0, 2.0):
            with store.merged(replace(recipe, scale=scale)):
                pass
        assert (store.spent.merges, store.spent.rescaled) == (1, 3)
        with store.merged(replace(recipe, scale="mean")):
            pass
        with store.merged(replace(recipe, weights=(1.0, 1.0, 2.0))):
            pass
        assert store.spent.merges == 3
        with store.merged(replace(recipe, scale=3.0)):  # two merges stay, this is none of them
            pass
        assert store.spent.merges == 4


def test_fully_trained_parameters_have_no_scale(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    folders = [
        str(adapter(tmp_path / name, seed=n, extras={PROJECTOR: weight}))
        for n, name in enumerate("ab")
    ]
    recipe = Recipe(tuple(folders), method="average", scale=5.0)
    with closing(MergeStore(tmp_path)) as store, store.merged(recipe) as folder:
        from safetensors.torch import load_file

        tensors = load_file(folder / "adapter_model.safetensors")
    extra = next(value for name, value in tensors.items() if "multi_modal_projector" in name)
    assert torch.equal(extra, weight)


def test_what_depends_on_the_scale_is_no_factor() -> None:
    recipe = Recipe(("a",), method="ties", scale=0.5)
    assert unscaled(recipe) == Recipe(("a",), method="ties")
    assert unscaled(replace(recipe, scale="kept")) is None
    assert unscaled(replace(recipe, polish=10)) is None
    assert unscaled(replace(recipe, method="relay")) is None
    assert unscaled(replace(recipe, modules=(Override("*", scale="mean"),))) is None
    later = (Override("*.q", scale=2.0), Override("*.q", scale=3.0), Override("*.q"))
    assert scale_of(replace(recipe, modules=later), "x.q") == 3.0
    assert scale_of(replace(recipe, modules=later), "x.v") == 0.5
