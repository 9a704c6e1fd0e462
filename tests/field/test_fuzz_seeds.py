"""A few rounds of `make fuzz`, those that once failed among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.run import KINDS, known_seeds, make_inputs, run_once
from robustmerge import files, outputs

ROUNDS = 4


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    make_inputs(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (files, outputs):  # a disk is slow, and not the question
        monkeypatch.setattr(module, "flush", lambda path: None)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_inputs_are_merged_rightly_or_refused(
    tmp_path: Path, good: Path, kind: str
) -> None:
    seeds = [seed for known, seed in known_seeds() if known == kind]
    for seed in [*seeds, *range(ROUNDS)]:
        assert not (wrong := run_once(kind, seed, tmp_path / "round", good)), (kind, seed, wrong)


def test_the_oracle_sees_a_wrong_sum(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustmerge.adapter.config import AdapterConfig

    assert not run_once("recipe", 1, tmp_path / "right", good)
    monkeypatch.setattr(AdapterConfig, "scaling", lambda self, module, rank: 1.0)
    findings = [run_once("data", seed, tmp_path / "wrong", good) for seed in range(8)]
    assert any("is off by" in finding for finding in findings)
