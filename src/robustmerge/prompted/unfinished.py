"""A walk's finished parts on disk, so that one that was stopped goes on with the same bytes.

    run.json                 what the walk is made from; another walk's folder is refused
    answers-N.json           the tokens of adapter N's answers
    weights-N.safetensors    its token weights
    block-N.safetensors      the factors of block N's modules, counted from the tower's first

Streams are not kept: a walk that goes on takes them through the finished blocks again, which is two
forward passes of what is done, instead of [tokens, width] of two streams for every block.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..errors import MergeError
from ..factors import Factors
from ..files import expand_user, read_json, write_whole
from .solve import Solution
from .weights import TokenWeights

_LENGTHS = ".lengths"


class Unfinished:
    """A folder of finished parts, or nothing at all.

    Attributes:
        folder: The folder; None to keep nothing.
    """

    def __init__(self, folder: str | Path | None, facts: Mapping[str, Any]) -> None:
        """Open the folder, or start it.

        Args:
            folder: The folder; None to keep nothing.
            facts: What determines the result, as plain data.

        Raises:
            MergeError: the folder has parts of another merge, or other files
        """
        self.folder = None if folder is None else expand_user(folder)
        if self.folder is None:
            return
        record, wanted = self.folder / "run.json", json.loads(json.dumps(facts))
        if record.is_file():
            if read_json(record) != wanted:
                raise MergeError(
                    "the folder has the unfinished work of another merge",
                    where=str(self.folder),
                    hint="name another folder, or remove this one",
                )
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise MergeError(
                "the folder for unfinished work has other files",
                where=str(self.folder),
                hint="name an empty folder, or one that does not exist",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps(wanted, indent=2))

    def answers(self, number: int) -> list[list[int]] | None:
        """Return the tokens of an adapter's answers, if they are there."""
        path = self._path(f"answers-{number + 1}.json")
        return None if path is None else [list(row) for row in read_json(path)["answers"]]

    def keep_answers(self, number: int, answers: Sequence[Sequence[int]]) -> None:
        """Keep an adapter's answers."""
        self._write(f"answers-{number + 1}.json", json.dumps({"answers": answers}).encode())

    def weights(self, number: int) -> TokenWeights | None:
        """Return an adapter's token weights, if they are there."""
        tensors = self._tensors(f"weights-{number + 1}.safetensors")
        if tensors is None:
            return None
        return {
            name: list(torch.split(row, tensors[f"{name}{_LENGTHS}"].tolist()))
            for name, row in tensors.items()
            if not name.endswith(_LENGTHS)
        }

    def keep_weights(self, number: int, weights: TokenWeights) -> None:
        """Keep an adapter's token weights."""
        if self.folder is None:
            return
        tensors = {name: torch.cat(list(rows)) for name, rows in weights.items()}
        for name, rows in weights.items():
            tensors[f"{name}{_LENGTHS}"] = torch.tensor([len(row) for row in rows])
        self._write(f"weights-{number + 1}.safetensors", save(tensors))

    def block(self, index: int) -> Mapping[str, Solution] | None:
        """Return a block's solutions, if they are there."""
        tensors = self._tensors(f"block-{index}.safetensors")
        if tensors is None:
            return None
        return {
            name.removesuffix(".A"): Solution(
                Factors(A, tensors[f"{name[:-2]}.B"]), float(tensors[f"{name[:-2]}.kept"])
            )
            for name, A in tensors.items()
            if name.endswith(".A")
        }

    def keep_block(self, index: int, solutions: Mapping[str, Solution]) -> None:
        """Keep a block's solutions."""
        if self.folder is None or not solutions:
            return
        tensors: dict[str, Tensor] = {}
        for name, solution in solutions.items():
            tensors[f"{name}.A"] = solution.factors.A.contiguous()
            tensors[f"{name}.B"] = solution.factors.B.contiguous()
            tensors[f"{name}.kept"] = torch.tensor(solution.kept, dtype=torch.float64)
        self._write(f"block-{index}.safetensors", save(tensors))

    def _tensors(self, name: str) -> dict[str, Tensor] | None:
        path = self._path(name)
        return None if path is None else dict(load(path.read_bytes()))

    def _path(self, name: str) -> Path | None:
        path = None if self.folder is None else self.folder / name
        return path if path is not None and path.is_file() else None

    def _write(self, name: str, content: bytes) -> None:
        if self.folder is not None:
            write_whole(self.folder / name, content)
