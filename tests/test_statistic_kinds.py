"""The rows of `statistic_kinds`, and everything that goes by their names."""

from __future__ import annotations

from typing import get_args

import pytest

from robustmerge import methods
from robustmerge.collect.live import GATHERERS
from robustmerge.statistic_kinds import KINDS, TENSORS, KindName, ModuleSizes, kinds_of


def test_every_kind_is_a_choice_and_is_gathered() -> None:
    assert get_args(KindName) == tuple(KINDS) == tuple(GATHERERS)
    assert len(TENSORS) == sum(len(kind.tensors) for kind in KINDS.values())


def test_the_proposed_method_needs_this_kind_alone() -> None:
    for name, row in KINDS.items():
        assert kinds_of(methods.get(row.method).needs) == (name,)


@pytest.mark.parametrize("method", methods.every(), ids=lambda method: method.name)
def test_methods_need_what_can_be_collected(method: methods.Method) -> None:
    assert set(method.needs) <= set(TENSORS)


def test_shapes() -> None:
    sizes = ModuleSizes(d_out=5, d_in=7, rank=2, ranks=6)
    assert {name: tensor.shape(sizes) for name, tensor in TENSORS.items()} == {
        "gram": (6, 6),
        "squares": (7,),
        "count": (1,),
        "sketch": (7, 7),
        "rest": (7,),
        "tokens": (1,),
        "fisher_A": (2, 7),
        "fisher_B": (5, 2),
    }
