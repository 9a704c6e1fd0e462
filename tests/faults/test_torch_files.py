"""A file of torch.save is loaded as named plain tensors, and nothing else in it is believed."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from factories.adapters import adapter, trio
from faults.refuse import merge, refused_merge

LORA = {
    "base_model.model.layers.0.q_proj.lora_A.weight": torch.ones(4, 8),
    "base_model.model.layers.0.q_proj.lora_B.weight": torch.ones(6, 4),
}


def save(folder: Path, content: object, **options: Any) -> Path:
    """An adapter folder whose .bin file holds this."""
    adapter(folder, modules={"layers.0.q_proj": (6, 8)}, binary=True)
    torch.save(content, folder / "adapter_model.bin", **options)
    return folder


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, touches: Path) -> None:
        self.touches = touches

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return Path.touch, (self.touches,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_does_not_run(tmp_path: Path, zipped: bool) -> None:
    touched = tmp_path / "touched"
    content = {**LORA, "x": Bomb(touched)}
    folder = save(tmp_path / "a", content, _use_new_zipfile_serialization=zipped)
    torch.load(folder / "adapter_model.bin", weights_only=False)
    touched.unlink()  # it does run where it is let
    refused_merge(tmp_path, [folder], "cannot be loaded as plain weights", "adapter_model.bin")
    assert not touched.exists()


def test_code_in_a_bare_pickle_does_not_run(tmp_path: Path) -> None:
    folder, touched = save(tmp_path / "a", {}), tmp_path / "touched"
    content = pickle.dumps({"x": Bomb(touched)})
    pickle.loads(content)
    touched.unlink()
    (folder / "adapter_model.bin").write_bytes(content)
    refused_merge(tmp_path, [folder], "cannot be loaded as plain weights")
    assert not touched.exists()


def test_code_in_the_trainables_beside_does_not_run(tmp_path: Path) -> None:
    folder, touched = adapter(tmp_path / "a"), tmp_path / "touched"
    torch.save({"x": Bomb(touched)}, folder / "non_lora_trainables.bin")
    refused_merge(tmp_path, [folder], "cannot be loaded", "non_lora_trainables.bin")
    assert not touched.exists()


def test_the_old_format_is_read(tmp_path: Path) -> None:
    old = save(tmp_path / "old", LORA, _use_new_zipfile_serialization=False)
    new = save(tmp_path / "new", LORA)
    for folder in (old, new):
        merge([folder], tmp_path / "out" / folder.name)
    first, second = (tmp_path / "out" / n / "adapter_model.safetensors" for n in ("old", "new"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.97, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, zipped: bool, share: float) -> None:
    folder = save(tmp_path / "a", LORA, _use_new_zipfile_serialization=zipped)
    file = folder / "adapter_model.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    refused_merge(
        tmp_path, [folder], "cannot be loaded", str(file), "download a damaged file again"
    )


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", LORA)
    with zipfile.ZipFile(folder / "adapter_model.bin", "w") as file:
        file.writestr("weights.txt", "1 2 3")
    refused_merge(tmp_path, [folder], "cannot be loaded", "adapter_model.bin")


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        ([torch.ones(2)], "the whole is a list"),
        (torch.ones(2), "the whole is a tensor of"),
        ({"state_dict": LORA}, "'state_dict' is a dict"),
        ({**LORA, "epoch": 3}, "'epoch' is a int"),
        ({**LORA, 0: torch.ones(2)}, "0 is a tensor"),
        ({**LORA, "x" * 1001: torch.ones(2)}, "is a tensor of torch.float32"),
        ({}, "no LoRA tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_anything_but_named_tensors_is_refused(
    tmp_path: Path, content: object, messages: str
) -> None:
    folder = save(tmp_path / "a", content)
    error = refused_merge(tmp_path, [folder], messages, "adapter_model.bin")
    assert len(error.problem) < 300


def odd() -> dict[str, Tensor]:
    return {
        "sparse": torch.ones(4, 8).to_sparse(),
        "expanded": torch.ones(1).expand(2**20, 2**20),  # four bytes, or four terabytes
        "meta": torch.ones(4, 8, device="meta"),
        "quantized": torch.quantize_per_tensor(torch.ones(4, 8), 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "int8": torch.ones(4, 8, dtype=torch.int8),
        "complex": torch.ones(4, 8, dtype=torch.complex64),
        "float8": torch.ones(4, 8).to(torch.float8_e4m3fn),
    }


@pytest.mark.filterwarnings("ignore:.*(nested tensors|torch.quantize|TypedStorage)")
@pytest.mark.parametrize("kind", ["sparse", "expanded", "meta", "quantized", "nested"])
def test_a_tensor_that_is_not_plain_is_refused(tmp_path: Path, kind: str) -> None:
    name = next(iter(LORA))
    folder = save(tmp_path / "a", {**LORA, name: odd()[kind]})
    refused_merge(tmp_path, [folder], f"holds more than plain named tensors: '{name}' is a tensor")


@pytest.mark.filterwarnings("ignore:.*(nested tensors|torch.quantize|TypedStorage)")
@pytest.mark.parametrize("kind", ["int8", "complex", "float8"])
def test_a_type_no_adapter_has_is_refused(tmp_path: Path, kind: str) -> None:
    name = next(iter(LORA))
    folder = save(tmp_path / "a", {**LORA, name: odd()[kind]})
    refused_merge(tmp_path, [folder], f"tensor of type {odd()[kind].dtype}", name)


def test_transposed_and_shared_storage_is_read(tmp_path: Path) -> None:
    A, B = torch.arange(32.0).view(8, 4), torch.arange(24.0).view(4, 6)
    for name, a, b in [("view", A.T, B.T), ("plain", A.T.contiguous(), B.T.contiguous())]:
        save(tmp_path / name, dict(zip(LORA, (a, b), strict=True)))
        merge([tmp_path / name], tmp_path / "out" / name)
    first, second = (tmp_path / "out" / n / "adapter_model.safetensors" for n in ("view", "plain"))
    assert first.read_bytes() == second.read_bytes()


def test_a_file_of_torch_next_to_safetensors_is_read_as_well(tmp_path: Path) -> None:
    sources = trio(tmp_path / "in")
    (Path(sources[0]) / "adapter_model.bin").write_bytes(b"no weights at all")
    refused_merge(tmp_path, sources, "cannot be loaded as plain weights", "adapter_model.bin")
    (Path(sources[0]) / "adapter_model.bin").unlink()
    assert merge(sources, tmp_path / "out").rank == 4
