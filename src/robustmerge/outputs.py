"""Folders that appear whole or not at all, and the rule of what a result may replace.

A result is filled under a hidden name, synced and renamed into place. With `--force` it replaces an
older result of the same kind as this program wrote it: the folder has the kind's record, the record
lists every file in it, and none has changed since. So nothing is ever removed that is an input of
anybody, was trained or edited afterwards, or came there in another way.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MergeError, few, reading
from .files import flush, hidden, read_json, sha256

_BLOCKS, _BLOCK = 64, 1 << 20
"""Of a file of more than 64 MiB, as many blocks of 1 MiB are hashed, at even distances."""


def _listed_files(record: Mapping[str, Any]) -> Mapping[str, str]:
    files: Mapping[str, str] = record["files"]
    return files


@dataclass(frozen=True)
class ResultKind:
    """One kind of folder that this program writes.

    Attributes:
        name: What it is called in messages.
        record: The file that marks it and is written last.
        listed: The hashes of all other files by path, from the record's content.
    """

    name: str
    record: str
    listed: Callable[[Mapping[str, Any]], Mapping[str, str]] = _listed_files


def list_files(folder: Path) -> dict[str, str]:
    """Return a record's `files`: what is known again, by path from the folder.

    A link is known by its target, a file by its size and the hash of 64 MiB of it at most, so that
    a base of 14 GB costs less than 0.1 s.
    """
    return {name: _sampled(path) for name, path in _contents(folder).items()}


def check_target(target: Path, kind: ResultKind, inputs: Sequence[Path], *, force: bool) -> None:
    """Check before any work that the result may be written to `target`.

    Args:
        target: The folder to write.
        kind: What is written.
        inputs: Folders and files that are read.
        force: Whether an older result may be replaced.

    Raises:
        MergeError: `target` is or holds an input, exists without `force`, can never be replaced, or
            holds anything but an older result as it was written.
    """
    resolved = _resolve(target)
    with _writing(target):
        _check_inputs(target, resolved, inputs)
        if not resolved.exists():
            return
        if not resolved.is_dir() or resolved.is_mount():
            state = "a mounted one" if resolved.is_dir() else "not a folder"
            raise MergeError(
                f"the output exists and is {state}",
                where=str(target),
                hint="choose a folder that can be made or replaced",
            )
        if not any(resolved.iterdir()):
            return
        if not force:
            raise MergeError(
                "the output exists",
                where=str(target),
                hint=f"choose another folder, or --force to replace {kind.name}",
            )
        _check_own(resolved, kind, target)


@contextmanager
def whole_folder(
    target: Path, kind: ResultKind, inputs: Sequence[Path], *, force: bool
) -> Iterator[Path]:
    """Yield a hidden folder next to `target` that replaces it when the block ends well.

    On an error or an interrupt the hidden folder is removed, and so are parents made for it. A
    killed process leaves it behind under its hidden name; `target` is never half written.

    Raises:
        MergeError: as by `check_target`, which is asked again when an older result is set aside;
            the folder cannot be made or filled, such as on a full disk; or, without `force`,
            another process filled `target` meanwhile.
    """
    resolved = _resolve(target)
    before = _state(resolved) if _read_list(resolved, kind) else {}
    check_target(target, kind, inputs, force=force)
    partial = hidden(resolved)
    made = [parent for parent in resolved.parents if not parent.exists()]

    def check(old: Path) -> None:
        if _state(old) != before:
            _check_own(old, kind, target)

    try:
        with _writing(target):
            partial.mkdir(parents=True)
            yield partial
            if extra := _unlisted(partial, kind):
                raise ValueError(f"{kind.record} does not list {extra}")
            for file in partial.iterdir():
                flush(file)
            flush(partial)
            _exchange(partial, resolved, check, force=force)
        with suppress(OSError):  # the result exists, if not yet durably
            flush(resolved.parent)
    finally:
        _remove(partial)
        for parent in made:
            with suppress(OSError):  # the folder is not empty when all went well
                parent.rmdir()


# --- The rule ------------------------------------------------------------------------------------


def _check_inputs(target: Path, resolved: Path, inputs: Sequence[Path]) -> None:
    """Check that the target neither is nor holds an input, under whatever name.

    Folders are compared by what they are on the disk, since one may have several names: by links,
    by mounts, by upper and lower case. The links in a folder lead to inputs, too.
    """
    here = _identity(resolved)
    for path in inputs:
        links = [p for p in path.iterdir() if p.is_symlink()] if path.is_dir() else []
        for part in (path, *links):
            real = Path(os.path.realpath(part))
            same = here is not None and any(_identity(p) == here for p in (real, *real.parents))
            if same or resolved in (real, *real.parents):
                raise MergeError(
                    "the output would replace an input",
                    where=f"{target}\n{part}",
                    hint="choose another folder; inputs are never overwritten",
                )


def _check_own(folder: Path, kind: ResultKind, target: Path) -> None:
    """Check that all of a folder is a result of this kind as it was written; an empty one is."""
    if not any(folder.iterdir()):
        return
    if (listed := _read_list(folder, kind)) is None:
        raise MergeError(
            f"the output exists and is not {kind.name}",
            where=str(target),
            hint=f"--force replaces nothing but {kind.name} that this program wrote; "
            "choose another folder, or remove this one yourself if it may go",
        )
    contents = _contents(folder)
    alien = _unlisted(folder, kind) or [
        name for name in listed if name in contents and not _is_same(contents[name], listed[name])
    ]
    if alien:
        raise MergeError(
            f"the output holds files that were not written with {kind.name}, or changed since: "
            f"{few(alien)}",
            where=str(target),
            hint="choose another folder, or move these files out of it; --force removes nothing "
            "that this program did not write",
        )


def _read_list(folder: Path, kind: ResultKind) -> dict[str, str] | None:
    """Return a folder's list of files, None where it has no record of this kind."""
    path = folder / kind.record
    if path.is_symlink() or not path.is_file():
        return None
    try:
        listed = dict(kind.listed(read_json(path)))
    except (MergeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    plain = all(isinstance(n, str) and isinstance(h, str) for n, h in listed.items())
    return listed if plain else None


def _unlisted(folder: Path, kind: ResultKind) -> list[str]:
    """Return the paths in a folder that its record does not list, and folders without a file."""
    listed = _read_list(folder, kind) or {}
    known = {kind.record, *listed}
    parents = {parent.as_posix() for name in known for parent in Path(name).parents}
    extra = [*(n for n in _contents(folder) if n not in known), *_folders(folder) - parents]
    return sorted(extra)


def _folders(folder: Path) -> set[str]:
    """Return the folders in a folder, by path from it."""
    paths = (Path(root, name) for root, names, _ in os.walk(folder) for name in names)
    return {path.relative_to(folder).as_posix() for path in paths if not path.is_symlink()}


def _contents(folder: Path) -> dict[str, Path]:
    """Return everything in a folder but folders, by path from it; links are not followed."""
    paths: list[Path] = []
    for root, names, files in os.walk(folder):
        links = [name for name in names if Path(root, name).is_symlink()]
        paths += [Path(root, name) for name in (*files, *links)]
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths)}


def _is_same(path: Path, known: str) -> bool:
    """Return whether a file is as its record says: by its whole hash, or as `list_files` has it."""
    regular = path.is_file() and not path.is_symlink()
    if not known:  # a file whose content the record does not have
        return regular
    if len(known) == 64 and regular:
        return sha256(path) == known
    return (regular or path.is_symlink()) and _sampled(path) == known


def _sampled(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    digest = hashlib.sha256()
    with reading(path), path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        step = max(size // _BLOCKS, _BLOCK)
        for position in range(0, size, step):
            file.seek(position)
            digest.update(file.read(_BLOCK))
    return f"{size}:{digest.hexdigest()}"


# --- The exchange --------------------------------------------------------------------------------


def _state(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return numbers that change when anything in a folder is written or replaced."""
    with suppress(OSError):
        stats = {name: path.lstat() for name, path in _contents(folder).items()}
        files = {n: (s.st_ino, s.st_size, s.st_mtime_ns) for n, s in stats.items()}
        return {**files, **dict.fromkeys(_folders(folder), ())}
    return {}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _resolve(target: Path) -> Path:
    """Resolve links: the folder behind a link is replaced, not the link."""
    try:
        return Path(os.path.realpath(target))
    except ValueError as error:  # a null byte, which no path has
        raise MergeError(
            f"cannot write the output: {error}", where=repr(str(target)), hint="check the path"
        ) from None


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MergeError(
            f"cannot write the output: {error.strerror or error}",
            where=str(target),
            hint="nothing was left behind; check the path, the free space and the permissions",
        ) from error


def _exchange(partial: Path, target: Path, check: Callable[[Path], None], *, force: bool) -> None:
    """Rename `partial` to `target`; what that replaces is left as `partial`, or removed.

    The old folder is checked when it has its hidden name, where no other program writes to it.
    """
    if not force or not target.exists():
        with suppress(FileNotFoundError):
            target.rmdir()  # refuses what is not empty: another process was faster
        partial.rename(target)
    elif _swap(partial, target):
        try:
            check(partial)
        except BaseException:
            _swap(partial, target)
            raise
    else:
        _replace(partial, target, check)


def _swap(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot, as only Linux can."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    status: int = renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange)
    return status == 0


def _replace(partial: Path, target: Path, check: Callable[[Path], None]) -> None:
    """Rename in two steps; a process killed between them leaves the old folder set aside."""
    aside = partial.with_name(partial.name.replace(".partial-", ".replaced-"))
    try:
        target.rename(aside)
        check(aside)
        partial.rename(target)
    finally:
        if target.exists():
            _remove(aside)
        else:
            aside.rename(target)


def _remove(folder: Path) -> None:
    """Remove a folder of ours; a signal that comes meanwhile is for afterwards."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
