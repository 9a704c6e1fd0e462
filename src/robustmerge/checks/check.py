"""Whether an adapter fits its base, its own settings, and the record of the merge that wrote it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..adapter.base import Base
from ..adapter.keys import Part
from ..adapter.tensor_files import BESIDE
from ..adapter.tensors import SafetensorsFile
from ..errors import MergeError, few, unknown
from ..families import BY_NAME
from ..files import read_json, sha256
from .contents import Contents, NamedTensor
from .family import guess_family
from .findings import CheckStatus, Finding, fails, note, ok
from .peft_rules import entries, saves, selects, under
from .runtimes import RUNTIMES, judge
from .tensor_locations import fits_renamed, misfit, nearest, other_vocabulary, unknown_shapes

RECORD = "merge.json"
_AGAIN = "copy the folder again, or merge again"
_OTHER_BASE = "name the base model that the adapter was trained on"
_RENAME = (
    "the base has them under other names: robustmerge merge ADAPTER -m task-arithmetic "
    "--base {base}"
)
_OTHER_NAMES = (
    "the others fit, so that it may be the right base: these modules have other names or shapes in "
    "it, or it is another version of the model"
)


@dataclass(frozen=True)
class CheckLine:
    """The result of one check.

    Attributes:
        subject: What is concerned: adapter, files, settings, base, or a runtime.
        check: Name of the check.
        finding: Its result.
        counts: Whether its failure decides the exit code.
    """

    subject: str
    check: str
    finding: Finding
    counts: bool = True


@dataclass(frozen=True)
class CheckReport:
    """An adapter after all checks.

    Attributes:
        label: What the user called it.
        modules: How many modules it adapts.
        ranks: Their ranks, without repetition.
        lines: The checks, in order.
    """

    label: str
    modules: int
    ranks: tuple[int, ...]
    lines: tuple[CheckLine, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing that counts fails."""
        return not any(x.counts and x.finding.verdict is CheckStatus.FAILS for x in self.lines)


Trial = Callable[[Contents], Finding | None]
"""Loads an adapter into the model that its base describes; None where that is impossible."""


def check(
    source: str | Path,
    base: str | None = None,
    runtimes: Sequence[str] = (),
    trial: Trial | None = None,
) -> CheckReport:
    """Check an adapter; reads headers only, and whole files where a merge recorded their hashes.

    Args:
        source: Adapter folder or Hub id.
        base: Base model folder or Hub id, of which headers are read.
        runtimes: Names of the runtimes that are to load it. Without any, all are checked, and those
            that decide the exit code count.
        trial: Loads the adapter as PEFT does; not called where the files are wrong already.

    Raises:
        MergeError: the adapter, the base or a runtime is unknown.
    """
    for name in runtimes:
        if name not in RUNTIMES:
            raise unknown("runtime", name, RUNTIMES)
    contents = Contents.open(source, Base(base, headers_only=True) if base else None)
    try:
        if not contents.items:
            raise contents.refusals[0]
        lines = [*_own(contents), *_of_base(contents)]
        if trial is not None and (not runtimes or "peft" in runtimes) and _complete(lines):
            tried = trial(contents)
            lines += [CheckLine("peft", "tried", tried)] if tried is not None else []
        for name in runtimes or RUNTIMES:
            counts = bool(runtimes) or RUNTIMES[name].decides_exit_code
            for limit, function in RUNTIMES[name].limits.items():
                lines.append(CheckLine(name, limit, judge(function, contents), counts))
        ranks = tuple(sorted({lora.rank for lora in contents.loras}))
        return CheckReport(contents.label, len(contents.loras), ranks, tuple(lines))
    finally:
        contents.close()


def _complete(lines: Sequence[CheckLine]) -> bool:
    return not any(line.finding.verdict is CheckStatus.FAILS for line in lines)


def _own(contents: Contents) -> list[CheckLine]:
    lines = [CheckLine("adapter", "reading", _readable(contents))]
    if (contents.folder / RECORD).is_file():
        lines.append(CheckLine("files", "hashes", _unchanged(contents.folder)))
    lines.append(CheckLine("settings", "target_modules", judge(_selected, contents)))
    return lines


def _of_base(contents: Contents) -> list[CheckLine]:
    base = contents.base
    if base is None:
        return []
    items = [*contents.items, *_extras_next_to(contents)]
    wrong = [(item, text) for item in items if (text := misfit(item, contents, base))]
    lines = [
        CheckLine("base", "family", _same_family(contents, base)),
        CheckLine("base", "tensors", _fit(contents, items, wrong)),
    ]
    if len(wrong) == len(items):  # another model: further checks say nothing
        return lines
    lines.append(
        CheckLine("base", "target_modules", judge(lambda c: _also_selected(c, base), contents))
    )
    if saved := entries(contents.config.raw, "modules_to_save"):
        lines.append(CheckLine("base", "modules_to_save", _all_saved(contents, base, saved)))
    return lines


def _readable(contents: Contents) -> Finding:
    if contents.refusals:
        first = contents.refusals[0]
        location = f" ({first.where.splitlines()[0]})" if first.where else ""
        return fails(first.problem + location, first.hint)
    return ok("plain LoRA, complete")


def _unchanged(folder: Path) -> Finding:
    """Check that the files are those the merge wrote."""
    try:
        recorded = _recorded(folder)
    except MergeError as error:
        return fails(error.problem, _AGAIN)
    missing = [name for name in recorded if not (folder / name).is_file()]
    if missing:
        return fails(f"missing, though {RECORD} records it: {few(missing)}", _AGAIN)
    changed = [name for name, digest in recorded.items() if sha256(folder / name) != digest]
    if changed:
        return fails(f"not what the merge wrote: {few(changed)}", _AGAIN)
    return ok(f"the {len(recorded)} files are what the merge wrote")


def _recorded(folder: Path) -> dict[str, str]:
    """Read the hashes by file name; names that leave the folder are not followed."""
    record: Any = read_json(folder / RECORD)
    try:
        hashes = dict(record["output"]["sha256"])
    except (KeyError, TypeError, ValueError):
        raise MergeError(
            f"{RECORD} records no hashes", where=str(folder / RECORD), hint=_AGAIN
        ) from None
    odd = [name for name in hashes if Path(name).name != name]
    if odd:
        raise MergeError(
            f"{RECORD} names files elsewhere: {few(odd)}", where=str(folder / RECORD), hint=_AGAIN
        )
    return hashes


def _selected(contents: Contents) -> Finding:
    """Check that the settings select the modules; PEFT drops the tensors of all others."""
    selected = {x.written: selects(contents.config.raw, x.written) for x in contents.loras}
    lost = [name for name, is_selected in selected.items() if is_selected is False]
    if lost:
        return fails(
            f"target_modules leaves out {len(lost)} of {len(selected)} modules, which are then "
            f"dropped silently: {few(lost, 1)}",
            "fix target_modules and exclude_modules in adapter_config.json",
        )
    if None in selected.values():
        return note("no target_modules: PEFT chooses by the kind of model")
    return ok(f"target_modules selects all {len(selected)} modules")


def _same_family(contents: Contents, base: Base) -> Finding:
    family = guess_family(contents)
    if not family.candidates or base.family not in BY_NAME:
        return ok(f"the base is {base.family or 'of a kind its folder does not name'}")
    if base.family in family.candidates:
        return ok(f"the base is {base.family}, as the adapter's is")
    kind = fails if family.sure else note
    return kind(
        f"the base is {base.family}, the adapter's is {family}",
        _OTHER_BASE,
    )


def _fit(
    contents: Contents, items: Sequence[NamedTensor], wrong: Sequence[tuple[NamedTensor, str]]
) -> Finding:
    """Check that every tensor changes a parameter of the base, of the right shape."""
    base = contents.base
    assert base is not None
    if wrong:
        sizes = [other_vocabulary(item, contents, base) for item, _ in wrong]
        if all(sizes) and (rows := max(size[0] for size in sizes if size)):
            return fails(
                f"{len(wrong)} of {len(items)} tensors are of another vocabulary: {wrong[0][1]}",
                f"base_model.resize_token_embeddings({rows}) before PEFT loads it, or robustmerge "
                "export --format full",
            )
        first, why = wrong[0]
        near = nearest(first, base)
        if near not in why:
            why += f"; the nearest is {near}"
        renamed = all(fits_renamed(item, base) for item, _ in wrong)
        other = _same_family(contents, base).verdict is not CheckStatus.OK
        advice = _OTHER_BASE if other or len(wrong) == len(items) else _OTHER_NAMES
        return fails(
            f"{len(wrong)} of {len(items)} tensors do not fit {base.label}: {why}",
            _RENAME.format(base=base.label) if renamed else advice,
        )
    text = f"all {len(items)} tensors have a place in it"
    if hidden := unknown_shapes(items, base):
        return note(f"{text}, but {hidden} shapes cannot be compared: the base is quantized")
    return ok(f"{text}, of the right shape")


def _extras_next_to(contents: Contents) -> list[NamedTensor]:
    """Return the fully trained parameters that a merge put into a file of their own."""
    path = contents.folder / BESIDE
    if not path.is_file():
        return []
    file = SafetensorsFile(path)
    return list(Contents("", contents.config, (file,), None, ()).items)


def _also_selected(contents: Contents, base: Base) -> Finding:
    """Check for modules that the settings select and the adapter has no tensors for."""
    adapted = {contents.live(x.written) for x in contents.loras}
    names = {contents.live(n): base.module_shape(n) for n in base.modules if n}
    also = sorted(n for n in names if n not in adapted and selects(contents.config.raw, n) is True)
    unfit = [n for n in also if len(names[n] or ()) < 2]
    if unfit:
        return fails(
            f"target_modules also selects what takes no LoRA: {few(unfit, 1)}",
            "fix target_modules in adapter_config.json",
        )
    if also:
        return note(
            f"target_modules also selects {len(also)} modules without tensors here, which PEFT "
            f"leaves as they are: {few(also, 1)}"
        )
    return ok("target_modules selects nothing else in it")


def _all_saved(contents: Contents, base: Base, saved: Sequence[str]) -> Finding:
    """Check that modules of modules_to_save are complete; PEFT ends in a KeyError otherwise."""
    held = {contents.live(item.written) for item in contents.of(Part.FULL)}
    wrapped = {m for m in map(contents.live, base.modules) if saves(contents.config.raw, m)}
    live = map(contents.live, base.tensors)
    wanted = {name for name in live if any(under(name, module) for module in wrapped)}
    if lost := sorted(wanted - held):
        return fails(
            f"modules_to_save {list(saved)} needs {len(lost)} parameters that are not here, such "
            f"as {lost[0]}",
            "merge with --extras-in beside, or fix modules_to_save",
        )
    return ok(f"modules_to_save is complete: {len(wanted)} parameters")
