"""What an adapter folder does to a base: low-rank updates, and parameters replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..adapter import layout
from ..adapter.base import Base
from ..adapter.keys import Part
from ..adapter.reader import BESIDE, Adapter, TensorRef
from ..adapter.tensors import SafetensorsFile
from ..checks.contents import Contents, NamedTensor
from ..checks.tensor_locations import misfit, nearest
from ..errors import MergeError, few


@dataclass(frozen=True)
class AdapterChanges:
    """An adapter with everything that lies in its folder.

    Attributes:
        contents: Every tensor, those beside the adapter included, and the base where there is one.
        adapter: Its updates.
        replaced: Parameters trained whole, by canonical name.
        lengths: What DoRA has a module's rows be scaled to, by its canonical name.
    """

    contents: Contents
    adapter: Adapter
    replaced: Mapping[str, TensorRef]
    lengths: Mapping[str, TensorRef]

    @property
    def items(self) -> tuple[NamedTensor, ...]:
        """Every tensor."""
        return self.contents.items

    def refuse(self, part: Part, problem: str, hint: str) -> None:
        """Refuse an adapter that has a tensor of this kind.

        Raises:
            MergeError: It has.
        """
        if found := self.contents.of(part):
            raise MergeError(problem, where=str(found[0].place), hint=hint)

    def check_fit(self, base: Base) -> None:
        """Check that every tensor has its place in the base, with the right shape.

        Raises:
            MergeError: One has none, or another shape.
        """
        wrong = [(i, why) for i in self.items if (why := misfit(i, self.contents, base))]
        if not wrong:
            return
        first, why = wrong[0]
        near = nearest(first, base)
        more = f"; the nearest is {near}" if near and near not in why else ""
        raise MergeError(
            f"{len(wrong)} of {len(self.items)} tensors do not fit the base: {why}{more}",
            where=f"{self.adapter.label}\n{base.label}",
            hint="name the base model that the adapter was trained on",
        )


@contextmanager
def opened(source: str | Path, base: Base | None) -> Iterator[AdapterChanges]:
    """An adapter folder, closed afterwards.

    Raises:
        MergeError: It is not a complete LoRA or DoRA adapter.
    """
    adapter = Adapter(source, dora=True)
    path = adapter.folder / BESIDE
    beside = [SafetensorsFile(path)] if path.is_file() else []
    files = (*adapter.files, *beside)
    contents = Contents(adapter.label, adapter.config, files, adapter, (), base)
    try:
        yield AdapterChanges(contents, adapter, _replaced(contents), _lengths(contents))
    finally:
        contents.close()


def _lengths(contents: Contents) -> dict[str, TensorRef]:
    found = contents.of(Part.MAGNITUDE)
    return {layout.canonical(item.key.module): item.place for item in found}


def _replaced(contents: Contents) -> dict[str, TensorRef]:
    found: dict[str, TensorRef] = {}
    for item in contents.whole:
        name = layout.canonical(item.written)
        if name in found:
            raise MergeError(
                f"{few([name])} is in the folder twice",
                where=f"{found[name]}\n{item.place}",
                hint=f"{BESIDE} belongs to another adapter; remove one of the two",
            )
        found[name] = item.place
    return found
