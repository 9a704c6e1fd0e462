"""Unpack wheels, npm's archives and Debian's packages, without the programs that make them."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from robustmerge.errors import MergeError, reading

_MAGIC = b"!<arch>\n"
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, lzma.LZMAError, zlib.error)
_HEADER = 60  # bytes before each member of an ar archive: name 16, ..., size 10 at 48, end 2


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder that exists; nothing leaves the folder.

    Raises:
        MergeError: the archive is of no known kind, or damaged.
    """
    work = ARCHIVES.get(archive.suffix)
    if work is None:
        raise MergeError(
            f"archives of the kind {archive.suffix!r} are not read",
            where=str(archive),
            hint=f"there are {', '.join(ARCHIVES)}",
        )
    with reading(archive):
        try:
            work(archive, folder)
        except DAMAGE as error:
            raise MergeError(
                f"the archive is damaged: {error}", where=str(archive), hint="download it again"
            ) from None


def _unpack_wheel(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as file:
        _extract(file, folder)


def _extract(file: tarfile.TarFile, folder: Path) -> None:
    """Write regular files inside the folder, which Python has a filter for from 3.11.4 on only.

    Links are left out: in the clip art they are second names of drawings, under other topics.

    Raises:
        TarError: a name leads out of the folder.
    """
    root = folder.resolve()
    for member in file:
        target = (root / member.name).resolve()
        if not target.is_relative_to(root):
            raise tarfile.ReadError(f"{member.name} leads out of the folder")
        if member.isfile() and (content := file.extractfile(member)) is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())


def _unpack_debian(archive: Path, folder: Path) -> None:
    content = archive.read_bytes()
    for name, data in members(content):
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as file:
                _extract(file, folder)
            return
    raise tarfile.ReadError("no data.tar in it")


def members(content: bytes) -> list[tuple[str, bytes]]:
    """Return the names and contents of an ar archive's members.

    Raises:
        TarError: it is no such archive, or cut off.
    """
    if not content.startswith(_MAGIC):
        raise tarfile.ReadError("it does not begin like an ar archive")
    listed, at = [], len(_MAGIC)
    while at < len(content):
        header = content[at : at + _HEADER]
        if len(header) < _HEADER or not header.endswith(b"`\n"):
            raise tarfile.ReadError(f"no header of a member at byte {at}")
        size = int(header[48:58])
        at += _HEADER
        if at + size > len(content):
            raise tarfile.ReadError("it is cut off")
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        listed.append((name, content[at : at + size]))
        at += size + size % 2  # members begin at even bytes
    return listed


ARCHIVES: Mapping[str, Callable[[Path, Path], None]] = {
    ".whl": _unpack_wheel,
    ".tgz": _unpack_tar,
    ".deb": _unpack_debian,
}
"""What unpacks an archive, by the ending of its name."""
