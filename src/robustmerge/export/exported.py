"""The whole of it: check, write, record. This is what `robustmerge export` calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..adapter.base import Base
from ..adapter.config import AdapterConfig
from ..adapter.source import locate
from ..errors import MergeError, unknown
from ..files import check_target, expand_user, sha256, whole_folder, write_json
from ..threads import Progress, silent
from . import full, original
from .changes import AdapterChanges, opened
from .companions import open_base
from .embedded import write_embedded

LAYOUTS = ("embedded", "llava", "full")
RECORD = "export.json"
_KIND = ("an export", RECORD)


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        layout: One of LAYOUTS.
        adapter: What the user called the adapter.
        base: What the base is called, '' where none was needed.
        modules: How many modules have a low-rank update.
        replaced: Canonical names of the parameters that were trained whole.
        untied: Whether the base's output head had to get a weight of its own.
        sha256: Hashes of the adapter's files.
    """

    layout: str
    adapter: str
    base: str
    modules: int
    replaced: tuple[str, ...]
    untied: bool
    sha256: dict[str, str]

    def record(self) -> dict[str, Any]:
        """As export.json has it."""
        return {"robustmerge": __version__, **asdict(self)}


def export_adapter(
    source: str | Path,
    output: str | Path,
    *,
    layout: str,
    base: str | None = None,
    copy: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> ExportReport:
    """Write an adapter in another shape; the folder appears whole or not at all.

    Args:
        source: Adapter folder or Hub id.
        output: The folder to write.
        layout: One of LAYOUTS.
        base: The base model, a folder or Hub id; what the adapter names as its base unless given.
            For `llava`, the original model, whose config.json alone is read.
        copy: For `embedded`: copy the base's files instead of linking them.
        force: Replace an export that is already there.
        progress: Called after every changed tensor of a `full` export.

    Raises:
        MergeError: Something the user can mend; nothing was written.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    output = expand_user(output)
    if layout == "llava":
        return _export_original(source, output, base, force=force)
    with _model(source, base) as model, opened(source, model) as changes:
        check_target(output, [changes.adapter.folder, model.folder], force=force, holds=_KIND)
        if layout == "embedded":
            changes.check_fit(model)
            with whole_folder(output, force=force) as folder:
                write_embedded(changes, model, folder, copy=copy)
                return _recorded(folder, layout, changes, model.label)
        baking = full.plan(changes, model)
        with whole_folder(output, force=force) as folder:
            full.write_full(changes, model, baking, folder, progress)
            return _recorded(folder, layout, changes, model.label, untied=baking.head is not None)


def _export_original(
    source: str | Path, output: Path, base: str | None, *, force: bool
) -> ExportReport:
    original.check_name(output)
    with opened(source, None) as changes:
        check_target(output, [changes.adapter.folder], force=force, holds=_KIND)
        settings = original.plan(changes, base)
        with whole_folder(output, force=force) as folder:
            original.write_original(changes, settings, base, folder)
            return _recorded(folder, "llava", changes, base or changes.adapter.config.base)


@contextmanager
def _model(source: str | Path, base: str | None) -> Iterator[Base]:
    named = base or AdapterConfig.read(locate(str(source))).base
    if not named:
        raise MergeError(
            "the adapter names no base model", where=str(source), hint="--base names it"
        )
    model = _opened_base(named, source, given=base is not None)
    try:
        yield model
    finally:
        model.close()


def _opened_base(named: str, source: str | Path, *, given: bool) -> Base:
    try:
        return open_base(named)
    except MergeError as error:
        if given:
            raise
        raise MergeError(
            f"the base model that the adapter names: {error.problem}",
            where=f"{source}\n{error.where}",
            hint="--base names the folder or Hub id where it is",
        ) from None


def _recorded(
    folder: Path, layout: str, changes: AdapterChanges, base: str, *, untied: bool = False
) -> ExportReport:
    files = [changes.adapter.config.path, *(file.path for file in changes.contents.files)]
    exported = ExportReport(
        layout,
        changes.adapter.label,
        base,
        len(changes.adapter.modules),
        tuple(changes.replaced),
        untied,
        {file.name: sha256(file) for file in files},
    )
    write_json(folder / RECORD, exported.record())
    return exported
