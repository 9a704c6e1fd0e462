"""Paths, hashes, JSON, and writing files and folders whole or not at all.

A result is filled under a hidden name, synced and renamed into place, so that it appears whole or
not at all.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import MergeError, reading, writing

_FIX = "fix the file or download it again"
_CANNOT = (errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems that do not support an operation at all."""


def expand_user(path: str | Path) -> Path:
    """Replace `~` in a path; leave a path as it is whose `~` names no user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def sha256(path: Path) -> str:
    """Return the hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(1 << 18))
    with reading(path), path.open("rb", buffering=0) as file:
        while size := file.readinto(chunk):
            digest.update(chunk[:size])
    return digest.hexdigest()


def read_json(path: Path, *, if_missing: str = "check the path") -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: The file.
        if_missing: The hint of the error where there is no such file.

    Raises:
        MergeError: the file is missing, unreadable, not JSON, or holds no object.
    """
    with reading(path):
        try:
            # Editors on Windows add a byte order mark.
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise MergeError(f"no {path.name}", where=str(path.parent), hint=if_missing) from None
        except (ValueError, RecursionError) as error:
            raise MergeError(f"not valid JSON: {error}", where=str(path), hint=_FIX) from None
    if not isinstance(content, dict):
        raise MergeError("does not hold a JSON object", where=str(path), hint=_FIX)
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as readable JSON, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    _replace_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        MergeError: the file cannot be written.
    """
    with writing(path):
        _replace_file(path, content)


def _replace_file(path: Path, content: str | bytes) -> None:
    """Write a file under a hidden name, then rename it into place."""
    if isinstance(content, str):
        # A path in it need not be UTF-8; escaped, it is still the same path in JSON.
        content = content.encode("utf-8", "backslashreplace")
    partial = _hidden(path)
    try:
        partial.write_bytes(content)
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    """Return a new hidden name next to a path, under which its content is written first."""
    # Only a part of the name: with the suffix, all of it might be longer than the system allows.
    return path.parent / f".{path.name[:40]}.partial-{secrets.token_hex(4)}"


def check_target(
    target: Path,
    inputs: Sequence[Path],
    *,
    force: bool,
    holds: tuple[str, str],
) -> None:
    """Check before any work that the result may be written to `target`.

    Args:
        target: The folder to write.
        inputs: Folders that are read.
        force: Whether an older result may be replaced.
        holds: The name of such a result in messages, and the file that marks one.

    Raises:
        MergeError: `target` is or holds an input, exists without `force`, can never be replaced, or
            holds something else than an older result.
    """
    resolved = _place(target)
    for folder in inputs:
        if resolved == folder.resolve() or resolved in folder.resolve().parents:
            raise MergeError(
                "the output would replace an input",
                where=f"{target}\n{folder}",
                hint="choose another folder; inputs are never overwritten",
            )
    with _writing(target):
        if not resolved.exists():
            return
        if not resolved.is_dir() or resolved.is_mount():
            kind = "a mounted one" if resolved.is_dir() else "not a folder"
            raise MergeError(
                f"the output exists and is {kind}",
                where=str(target),
                hint="choose a folder that can be made or replaced",
            )
        if not any(resolved.iterdir()):
            return
    if not force:
        raise MergeError(
            "the output exists",
            where=str(target),
            hint="choose another folder, or --force to replace it",
        )
    kind, file = holds
    if not (resolved / file).is_file():
        raise MergeError(
            f"the output exists and is not {kind}",
            where=str(target),
            hint=f"--force replaces nothing but {kind}; remove the folder yourself if it may go",
        )


@contextmanager
def whole_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield a hidden folder next to `target` that replaces it when the block ends well.

    On an error or an interrupt the hidden folder is removed, and so are parents made for it. A
    killed process leaves it behind under its hidden name; `target` is never half written.

    Raises:
        MergeError: the folder cannot be made or filled, such as on a full disk; or, without
            `force`, another process filled `target` meanwhile.
    """
    resolved = _place(target)
    partial = _hidden(resolved)
    made = [parent for parent in resolved.parents if not parent.exists()]
    try:
        with _writing(target):
            partial.mkdir(parents=True)
            yield partial
            for file in partial.iterdir():
                _sync(file)
            _sync(partial)
            _exchange(partial, resolved, force=force)
        with suppress(OSError):  # the result exists, if not yet durably
            _sync(resolved.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # the folder is not empty when all went well
                parent.rmdir()


def _place(target: Path) -> Path:
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


def _exchange(partial: Path, target: Path, *, force: bool) -> None:
    """Rename `partial` to `target`; what that replaces is left as `partial`, or removed."""
    if not force or not target.exists():
        with suppress(FileNotFoundError):
            target.rmdir()  # refuses what is not empty: another process was faster
        partial.rename(target)
    elif not _swap(partial, target):
        _replace(partial, target)


def _swap(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot, as only Linux can."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    status: int = renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange)
    return status == 0


def _replace(partial: Path, target: Path) -> None:
    """Rename in two steps; a process killed between them leaves the old folder set aside."""
    aside = partial.with_name(partial.name.replace(".partial-", ".replaced-"))
    try:
        target.rename(aside)
        partial.rename(target)
    finally:
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; a folder, where the system can."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT or not path.is_dir():
            raise
    finally:
        os.close(handle)


def check_space(folder: Path, needed: int) -> None:
    """Check that the disk of a folder that is being filled holds the result.

    Args:
        folder: The folder, under its hidden name.
        needed: Bytes.

    Raises:
        MergeError: the disk is too full.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MergeError(
            f"the disk has {free / 1e6:.1f} MB free, the result needs {needed / 1e6:.1f} MB",
            where=str(folder.parent),
            hint="free some space or choose another disk",
        )
