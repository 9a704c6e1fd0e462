"""The report of a merge: written next to the weights as merge.json, and printed as a table."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from .._version import __version__
from .plan import MergePlan
from .recipe import Recipe
from .run import MergedModule, RunFacts

FORMAT = 1
"""Format of merge.json; a higher number when a reader of the old one would misread the new."""

_LITTLE = 0.5
"""Share of the energy below which a result is worth a warning."""


@dataclass(frozen=True)
class ModuleReport:
    """One module's line.

    Attributes:
        name: Canonical name.
        ranks: The inputs' ranks.
        scale: What the merged update was multiplied by.
        energy: Share of the merged update's energy that the output's rank keeps.
        notes: Remarks of the method.
    """

    name: str
    ranks: tuple[int, ...]
    scale: float
    energy: float
    notes: tuple[str, ...]

    @classmethod
    def of(cls, merged: MergedModule) -> ModuleReport:
        """Return the line of a merged module."""
        return cls(merged.job.name, merged.job.ranks, merged.scale, merged.energy, merged.notes)


@dataclass(frozen=True)
class MergeReport:
    """A finished merge.

    Attributes:
        recipe: What to merge, and how.
        plan: What followed from it.
        rank: The output's uniform rank.
        modules: One line per module.
        inputs: SHA-256 of each adapter's files.
        files: SHA-256 of the output's files.
        facts: What the run reports beyond its modules.
        polished: What gradient steps after the merge report.
        output: Where it was written.
        seconds: How long it took.
    """

    recipe: Recipe
    plan: MergePlan
    rank: int
    modules: tuple[ModuleReport, ...]
    inputs: tuple[dict[str, str], ...]
    files: dict[str, str]
    facts: RunFacts = field(default_factory=RunFacts)
    polished: RunFacts = field(default_factory=RunFacts)
    output: Path | None = None
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        plan: MergePlan,
        rank: int,
        modules: Sequence[ModuleReport],
        inputs: Sequence[dict[str, str]],
        files: dict[str, str],
        facts: RunFacts,
        polished: RunFacts,
    ) -> MergeReport:
        """Gather what was done."""
        return cls(recipe, plan, rank, tuple(modules), tuple(inputs), files, facts, polished)

    def finished(self, output: Path, seconds: float) -> MergeReport:
        """Return the report with the output's folder and the time it took."""
        return replace(self, output=output, seconds=seconds)

    @property
    def energy(self) -> tuple[float, float]:
        """Return the mean and the least share of energy kept over modules."""
        return energy_kept(self.modules)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The plan's and the run's warnings, how many modules have remarks, if little is left."""
        # A walk's later modules make up for what the rank takes from earlier ones.
        own = remarks(self.modules, self.rank, cut_is_loss=not self.plan.method.run)
        return (*self.plan.warnings, *self.facts.warnings, *own, *self.polished.warnings)

    def record(self) -> dict[str, Any]:
        """Return the content of merge.json; the same inputs give the same record."""
        plan = self.plan
        data = {"sha256": plan.data.statistics.sha256} if plan.data else None
        return {
            "format": FORMAT,
            "robustmerge": __version__,
            "recipe": self.recipe.to_dict(),
            "parameters": dict(plan.method.configure(self.recipe.parameters)),
            "inputs": [
                {"source": a.label, "base": a.config.base, "sha256": hashes}
                for a, hashes in zip(plan.adapters, self.inputs, strict=True)
            ],
            **({"left_out": [loss.record() for loss in plan.left_out]} if plan.left_out else {}),
            **({"data": data} if data else {}),
            **({plan.method.name: dict(self.facts.record)} if self.facts.record else {}),
            **({"polish": dict(self.polished.record)} if self.polished.record else {}),
            "output": {
                "layout": plan.layout,
                "dtype": plan.dtype,
                "rank": self.rank,
                "sha256": self.files,
            },
            "energy": {"mean": self.energy[0], "least": self.energy[1]},
            "warnings": list(self.warnings),
            "modules": {
                m.name: {
                    "ranks": list(m.ranks),
                    "scale": m.scale,
                    "energy": m.energy,
                    "notes": list(m.notes),
                }
                for m in self.modules
            },
            "extras": [extra.name for extra in plan.extras.parameters],
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "safetensors": safetensors.__version__,
            },
        }


def energy_kept(modules: Sequence[ModuleReport]) -> tuple[float, float]:
    """Return the mean and the least share of energy kept over modules."""
    kept = [m.energy for m in modules]
    return sum(kept) / len(kept), min(kept)


def remarks(
    modules: Sequence[ModuleReport], rank: int, *, cut_is_loss: bool = True
) -> tuple[str, ...]:
    """Return warnings about a finished merge: what all modules remark, and where more is.

    Args:
        modules: The modules' lines.
        rank: The output's rank.
        cut_is_loss: Whether what the rank takes is lost.
    """
    everywhere = [note for note in modules[0].notes if all(note in m.notes for m in modules)]
    warnings = everywhere.copy()
    noted = [m.name for m in modules if set(m.notes) - set(everywhere)]
    if noted:
        warnings.append(f"{len(noted)} modules have remarks, such as {noted[0]}")
    if cut_is_loss and (kept := energy_kept(modules)[0]) < _LITTLE:
        warnings.append(
            f"rank {rank} keeps {kept:.0%} of the merged updates' energy; what is left may not be "
            "what the method is about: rank full or energy:0.9 keeps more"
        )
    return tuple(warnings)
