"""What an extraction or a conversion did: printed, and written next to the weights as a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..adapter.source import public_name
from ..escape import code_span
from ..files import sha256, write_json, write_whole
from ..outputs import ResultKind

FORMAT = 1
"""Format of the records; a higher number when a reader of the old one would misread the new."""


CARD = "README.md"


def _listed_files(record: Mapping[str, Any]) -> Mapping[str, str]:
    files: Mapping[str, str] = record["output"]["sha256"]
    return files


EXTRACTION = ResultKind("an extraction", "extract.json", _listed_files)
CONVERSION = ResultKind("a conversion", "convert.json", _listed_files)


@dataclass(frozen=True)
class ModuleEnergy:
    """One module's line.

    Attributes:
        name: Canonical name.
        rank: How many directions are kept.
        energy: Share of the change's energy that they hold.
        norm: Frobenius norm of the whole change.
        relative: The same, as a share of the norm of the base's weight; None where that is unknown.
    """

    name: str
    rank: int
    energy: float
    norm: float
    relative: float | None = None


@dataclass(frozen=True)
class DerivedReport:
    """A finished extraction or conversion.

    Attributes:
        kind: Which of the two.
        source: What the user called the input.
        base: The base model.
        rule: How the rank was chosen, '' where nothing was cut.
        rank: The uniform rank of the result.
        dtype: Safetensors name of its factors' type.
        layout: How modules are named in it.
        modules: One line per module, those of rank 0 included, which are not in the result.
        extras: Names of the fully trained parameters.
        inputs: SHA-256 of the files that were read, by role.
        output: Where it was written.
        files: SHA-256 of the result's files.
        notes: What a careful user should know.
    """

    kind: ResultKind
    source: str
    base: str
    rule: str
    rank: int
    dtype: str
    layout: str
    modules: tuple[ModuleEnergy, ...]
    extras: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, str]]
    output: Path
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def energy(self) -> tuple[float, float]:
        """Return the share of the whole change's energy that is kept, and the least of a module."""
        whole = sum(m.norm**2 for m in self.modules)
        kept = sum(m.energy * m.norm**2 for m in self.modules)
        return (kept / whole if whole else 1.0), min(m.energy for m in self.modules)

    def written(self, folder: Path) -> DerivedReport:
        """Write the model card and the record; return the report with the hashes of all files."""
        write_whole(folder / CARD, self._card())
        files = {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.is_file()}
        report = replace(self, files=files)
        write_json(folder / self.kind.record, report.record())
        return report

    def _card(self) -> str:
        share, least = self.energy
        cut = f" (`--rank {self.rule}`)" if self.rule else ""
        return f"""---
library_name: peft
tags: [lora, robustmerge]
---

# LoRA adapter

{self.kind.name.capitalize()} of {code_span(public_name(self.source))} to a LoRA of \
{code_span(public_name(self.base) or "an unnamed base model")} by \
[RobustMerge](https://arxiv.org/abs/2502.17159)'s tool `robustmerge`, without training.

Rank {self.rank}{cut}, {sum(m.rank > 0 for m in self.modules)} modules; {share:.1%} of the energy \
of all changes of linear layers is kept, {least:.1%} at least in a module. {len(self.extras)} \
other tensors are fully trained parameters. `{self.kind.record}` has every module's share.
"""

    def record(self) -> dict[str, Any]:
        """Return the content of the record; the same inputs give the same record."""
        share, least = self.energy
        return {
            "format": FORMAT,
            "robustmerge": __version__,
            "source": self.source,
            "base": self.base,
            "inputs": {role: dict(hashes) for role, hashes in self.inputs.items()},
            "rank": self.rule,
            "output": {
                "layout": self.layout,
                "dtype": self.dtype,
                "rank": self.rank,
                "sha256": dict(self.files),
            },
            "energy": {"all": share, "least": least},
            "notes": list(self.notes),
            "modules": {
                m.name: {
                    "rank": m.rank,
                    "energy": m.energy,
                    "norm": m.norm,
                    **({} if m.relative is None else {"relative": m.relative}),
                }
                for m in self.modules
            },
            "extras": list(self.extras),
        }
