"""What runs on a GPU gives what the CPU gives; on the CPU, that these tests work.

The tests of cuda are deselected unless asked for (`make gpu`), and fail where there is none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import robustmerge
from factories.adapters import deltas, stack, trio
from factories.bases import adapt, lines, llama, text_only
from factories.families import _quiet
from robustmerge import methods
from robustmerge.collect.folders import collect_folders
from robustmerge.factors import Factors, Stack, noted
from robustmerge.linalg import fit
from robustmerge.methods import Method

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
NAMES = ("left", "right")


def alone(method: Method) -> bool:
    """Return whether a module can be merged for itself by the defaults."""
    return not method.needs and (method.survey is None or method.name in ("pcb", "ties"))


def settings_of(method: Method) -> list[dict[str, Any]]:
    """The defaults, and every other space."""
    spaces = method.parameters["space"].choices if "space" in method.parameters else ()
    return [method.configure(s) for s in ({}, *({"space": space} for space in spaces))]


def on(device: str, inputs: Stack) -> Stack:
    factors = tuple(Factors(f.A.to(device), f.B.to(device)) for f in inputs.factors)
    return replace(inputs, factors=factors)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "method",
    [m for m in methods.every() if alone(m)],
    ids=lambda m: m.name,
)
def test_a_method_merges_as_on_the_cpu(method: Method, device: str) -> None:
    inputs = stack(d_out=40, d_in=56)
    for settings in settings_of(method):
        ours = noted(method(on(device, inputs), **settings)).update
        assert ours.dense().device.type == device
        expected = noted(method(inputs, **settings)).update.dense().double()
        torch.testing.assert_close(ours.dense().cpu().double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_a_large_delta_is_cut_as_on_the_cpu(device: str) -> None:
    inputs = stack(d_out=600, d_in=700)
    delta = noted(methods.get("ties")(inputs, space="delta")).update
    on_device = noted(methods.get("ties")(on(device, inputs), space="delta")).update
    (kept, energy), (expected, most) = fit(on_device, 4), fit(delta, 4)
    assert energy == pytest.approx(most, rel=1e-4)
    difference = kept.dense().cpu() - expected.dense()
    assert difference.norm() < 1e-2 * expected.dense().norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["robustmerge", "ties", "tsv-m", "drift"])
def test_folders_merge_as_on_the_cpu(method: str, device: str, tmp_path: Path) -> None:
    folders = trio(tmp_path)
    for place in ("cpu", device):
        robustmerge.merge(
            folders, tmp_path / f"on-{place}", method=method, device=place, force=True
        )
    expected = deltas(tmp_path / "on-cpu")
    for name, delta in deltas(tmp_path / f"on-{device}").items():
        torch.testing.assert_close(delta, expected[name], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with two adapters and samples of both."""
    root = tmp_path_factory.mktemp("gpu")
    llama(root / "base")
    adapt(text_only(), {"left": {"r": 3}, "right": {"r": 2}}, root)
    for n, name in enumerate(NAMES, 1):
        lines(root / f"{name}.jsonl", [{"text": f"w{n}{k} w6 w7{n} w{k + 3}"} for k in range(6)])
    return root


@pytest.mark.parametrize("device", DEVICES)
def test_statistics_are_those_of_the_cpu(location: Path, tmp_path: Path, device: str) -> None:
    for place in ("cpu", device):
        with _quiet():
            collect_folders(
                [location / name for name in NAMES],
                location / "base",
                [location / f"{name}.jsonl" for name in NAMES],
                tmp_path / place,
                what=["gram", "fisher"],
                device=place,
                force=True,
            )
    files = sorted((tmp_path / device).glob("*.safetensors"))
    assert len(files) == len(NAMES)
    for path in files:
        expected = load_file(tmp_path / "cpu" / path.name)
        for name, tensor in load_file(path).items():
            difference = (tensor.double() - expected[name].double()).norm()
            assert difference <= 1e-2 * expected[name].double().norm(), name


@pytest.mark.parametrize("device", DEVICES)
def test_relay_merges_as_on_the_cpu(location: Path, tmp_path: Path, device: str) -> None:
    for place in ("cpu", device):
        with _quiet():
            robustmerge.relay(
                [location / name for name in NAMES],
                tmp_path / place,
                location / "base",
                [location / f"{name}.jsonl" for name in NAMES],
                longest=4,
                device=place,
                force=True,
            )
    expected = deltas(tmp_path / "cpu")
    for name, delta in deltas(tmp_path / device).items():
        assert (delta - expected[name]).norm() < 0.05 * expected[name].norm().clamp_min(1e-6), name
