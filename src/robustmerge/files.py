"""Paths, hashes, JSON, and writing single files whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .errors import MergeError, reading, writing

_FIX = "fix the file or download it again"
NO_UTF8 = "save the file as UTF-8; PowerShell and some editors write UTF-16 or Latin-1"
_CACHE = "snapshots"
"""The folder of a repository in the Hub's cache that holds its revisions."""
_LARGEST = 256_000_000  # bytes
_HEAD = 4096  # bytes
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


def read_json(
    path: Path, *, if_missing: str = "check the path", strict: bool = False
) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: The file.
        if_missing: The hint of the error where there is no such file.
        strict: Refuse NaN and infinite numbers, which Python writes and JSON has not; some settings
            of models have them.

    Raises:
        MergeError: the file is missing, unreadable, not JSON, or holds no object.
    """
    with reading(path):
        check_size(path)
        try:
            # Editors on Windows add a byte order mark.
            text = path.read_text(encoding="utf-8-sig")
            numbers = {"parse_constant": _refuse, "parse_float": _finite} if strict else {}
            content = json.loads(text, object_pairs_hook=_table, **numbers)  # type: ignore[arg-type]
        except FileNotFoundError:
            raise MergeError(f"no {path.name}", where=str(path.parent), hint=if_missing) from None
        except UnicodeDecodeError:
            raise MergeError("not UTF-8 text", where=str(path), hint=NO_UTF8) from None
        except (ValueError, RecursionError) as error:
            raise MergeError(f"not valid JSON: {error}", where=str(path), hint=_FIX) from None
    if not isinstance(content, dict):
        raise MergeError("does not hold a JSON object", where=str(path), hint=_FIX)
    return content


def check_inside(path: Path, folder: Path) -> Path:
    """Return a file of a folder that is to be copied, unless it is a link to somewhere else.

    The links of the Hub's cache lead to the blobs of the same repository and are followed.

    Raises:
        MergeError: the link leads out of the folder.
    """
    with reading(path):
        real, home = path.resolve(), folder.resolve()
    caches = [p.parent.parent / "blobs" for p in (home, *home.parents) if p.parent.name == _CACHE]
    if any(real.is_relative_to(root) for root in (home, *caches)):
        return path
    raise MergeError(
        "a link leads out of the folder, and what it leads to would become part of the result",
        where=f"{path}\n{real}",
        hint="put a copy of the file there, if others may see it",
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.80} is larger than any number")
    return number


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a table, in which every key is once; programs differ in which of two they take."""
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} occurs twice")
    return table


def check_size(path: Path) -> None:
    """Check that a file of settings is not larger than any, before it is read whole.

    Raises:
        MergeError: the file has more than 256 MB; the largest indices of models have some 20 MB.
    """
    if path.is_file() and (size := path.stat().st_size) > _LARGEST:
        raise MergeError(
            f"{size / 1e6:.0f} MB of settings, which no program writes",
            where=str(path),
            hint=_FIX,
        )


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


def write_report(path: Path, content: str, mark: str) -> None:
    """Write a file that a user names, whole or not at all; it replaces none but its like.

    Args:
        path: The file; folders above it are made.
        content: Its text.
        mark: A piece of the text that every file of this kind has, and hardly any other.

    Raises:
        MergeError: another file is there, or the file cannot be written.
        ValueError: the mark is missing in the content, so that it could never be replaced.
    """
    if mark not in content:
        raise ValueError(f"no {mark!r} in the content of {path.name}")
    with writing(path):
        check_report(path, mark)
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace_file(path, content)


def check_report(path: Path, mark: str) -> None:
    """Check before any work that `write_report` may write a file.

    Raises:
        MergeError: something is there that is no earlier file of this kind.
    """
    with writing(path):
        if not path.exists():
            return
        own = path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace")
    if not own:
        raise MergeError(
            "the output exists and is not such a report",
            where=str(path),
            hint="choose another name; only an earlier report of the same kind is replaced",
        )


def _replace_file(path: Path, content: str | bytes) -> None:
    """Write a file under a hidden name, then rename it into place."""
    if isinstance(content, str):
        # A path in it need not be UTF-8; escaped, it is still the same path in JSON.
        content = content.encode("utf-8", "backslashreplace")
    with _replacing(path) as partial:
        partial.write_bytes(content)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden name, which is renamed to `path` when the block ends well."""
    partial = hidden(path)
    try:
        yield partial
        flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, mark: bytes, *, force: bool) -> Iterator[Path]:
    """Yield a hidden name for a file that a user names; it appears whole or not at all.

    Args:
        path: The file; folders above it are made.
        mark: Bytes within the first _HEAD of every file of this kind, and hardly of any other.
        force: Whether an earlier file of this kind may be replaced.

    Raises:
        MergeError: another file is there, or the file cannot be written.
    """
    with writing(path):
        check_file(path, mark, force=force)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as partial:
            yield partial


def check_file(path: Path, mark: bytes, *, force: bool) -> None:
    """Check before any work that `whole_file` may write a file.

    Raises:
        MergeError: something is there that may not be replaced.
    """
    with writing(path):
        if not path.exists():
            return
        own = False
        if path.is_file():
            with path.open("rb") as file:
                own = mark in file.read(_HEAD)
    if not own or not force:
        raise MergeError(
            "the output exists" + ("" if own else " and was not written by this program"),
            where=str(path),
            hint="choose another name" + (", or --force to replace it" if own else ""),
        )


def hidden(path: Path) -> Path:
    """Return a new hidden name next to a path, under which its content is written first."""
    # Only a part of the name: with the suffix, all of it might be longer than the system allows.
    return path.parent / f".{path.name[:40]}.partial-{secrets.token_hex(4)}"


def is_leftover(path: Path) -> bool:
    """Return whether a path has a hidden name of `hidden`, which a killed process left."""
    return path.name.startswith(".") and ".partial-" in path.name


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder until the process ends, in whatever way.

    Raises:
        MergeError: another run is writing to it.
    """
    if os.name != "posix":  # a system without such locks
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MergeError(
            "another run is writing to the folder",
            where=str(folder),
            hint="wait for it, or choose another folder",
        ) from None
    except OSError:  # a file system without locks
        return


def flush(path: Path) -> None:
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
