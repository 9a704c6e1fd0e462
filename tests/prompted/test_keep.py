"""Hidden states between blocks, on the host and in files without a name."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from robustmerge.errors import MergeError
from robustmerge.prompted.keep import on_disk, on_host


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_the_same_and_the_folder_is_empty(tmp_path: Path, dtype: torch.dtype) -> None:
    states = torch.randn(2, 3, 4).transpose(0, 1).to(dtype)
    kept = on_disk(tmp_path)(states)
    assert torch.equal(kept, states)
    assert torch.equal(on_host(states), states)
    assert not list(tmp_path.iterdir())
    assert on_disk(tmp_path)(torch.zeros(0, 4)).shape == (0, 4)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fdopen", full)
    with pytest.raises(MergeError, match="No space left") as error:
        on_disk(tmp_path)(torch.ones(2))
    assert str(tmp_path) in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="No such file"):
        on_disk(tmp_path / "gone")(torch.ones(2))
