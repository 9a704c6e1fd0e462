"""What an adapter folder does to a base: low-rank updates, and fully trained parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..adapter import layout
from ..adapter.base import Base
from ..adapter.base_updates import misfit_of_single
from ..adapter.keys import Part
from ..adapter.reader import Adapter
from ..adapter.tensor_ref import TensorRef
from ..checks.contents import Contents, NamedTensor
from ..checks.tensor_locations import misfit, nearest, other_vocabulary
from ..errors import MergeError


@dataclass(frozen=True)
class AdapterChanges:
    """The changes that an adapter folder makes to a base.

    Attributes:
        contents: Every tensor, those of BESIDE included, and the base where there is one.
        adapter: The adapter, with its updates.
        replaced: Fully trained parameters, by canonical name.
        magnitudes: DoRA's magnitude vectors, by the module's canonical name.
    """

    contents: Contents
    adapter: Adapter
    replaced: Mapping[str, TensorRef]
    magnitudes: Mapping[str, TensorRef]

    @property
    def items(self) -> tuple[NamedTensor, ...]:
        """Every tensor."""
        return self.contents.items

    def refuse(self, part: Part, problem: str, hint: str) -> None:
        """Refuse an adapter that has a tensor of this kind.

        Raises:
            MergeError: the adapter has one.
        """
        if tensors := self.contents.of(part):
            raise MergeError(problem, where=str(tensors[0].ref), hint=hint)

    def check_fit(self, base: Base, *, bakes: bool = False) -> None:
        """Check that the base has a parameter for every tensor, with the right shape.

        Args:
            base: The base.
            bakes: The base itself is changed: a larger vocabulary than its own is a change like
                others, and it may store experts otherwise than the adapter has them.

        Raises:
            MergeError: a tensor does not fit.
        """
        wrong = [(i, why) for i in self.items if (why := self._misfit(i, base, bakes=bakes))]
        sizes = [other_vocabulary(item, self.contents, base) for item, _ in wrong]
        if bakes and all(size and size[0] > size[1] for size in sizes):
            return
        if not wrong:
            return
        if all(sizes):
            raise MergeError(
                f"{len(wrong)} of {len(self.items)} tensors are of another vocabulary: "
                f"{wrong[0][1]}",
                where=f"{self.adapter.label}\n{base.label}",
                hint="--format full grows the base with the adapter; or save the base after "
                f"resize_token_embeddings({max(size[0] for size in sizes if size)}) and name that",
            )
        first, why = wrong[0]
        near = nearest(first, base)
        more = f"; the nearest is {near}" if near and near not in why else ""
        raise MergeError(
            f"{len(wrong)} of {len(self.items)} tensors do not fit the base: {why}{more}",
            where=f"{self.adapter.label}\n{base.label}",
            hint="name the base model that the adapter was trained on",
        )

    def _misfit(self, item: NamedTensor, base: Base, *, bakes: bool) -> str:
        why = misfit(item, self.contents, base)
        modules = self.adapter.modules
        module = modules.get(layout.canonical(item.key.module))
        if not why or not bakes or module is None or module.wrapped is not None:
            return why
        return misfit_of_single(base, module, modules, otherwise=why)


@contextmanager
def open_changes(source: str | Path, base: Base | None) -> Iterator[AdapterChanges]:
    """Open an adapter folder, and close it afterwards.

    Raises:
        MergeError: the folder is not a complete LoRA or DoRA adapter.
    """
    adapter = Adapter(source, dora=True)
    files = (*adapter.files, *adapter.beside)
    contents = Contents(adapter.label, adapter.config, files, adapter, (), base)
    try:
        yield AdapterChanges(contents, adapter, _replaced(contents), _magnitudes(contents))
    finally:
        contents.close()


def _magnitudes(contents: Contents) -> dict[str, TensorRef]:
    return {layout.canonical(item.key.module): item.ref for item in contents.of(Part.MAGNITUDE)}


def _replaced(contents: Contents) -> dict[str, TensorRef]:
    return {layout.canonical(item.written): item.ref for item in contents.fully_trained}
