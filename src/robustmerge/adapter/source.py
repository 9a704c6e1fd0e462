"""Find an adapter or a base model: a local folder, or a repository on the Hub."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

from ..errors import MergeError, advise_unexpanded, first_line, reading
from ..files import expand_user
from .tensor_files import FULLY_TRAINED, WEIGHTS, check_names

_HUB_ID = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<subfolder>[\w./-]+))?"
)
_REPOSITORY = re.compile(r"\b[\w.-]+\b/\b[\w.-]{1,95}\b", re.ASCII)
"""What `huggingface_hub.utils.validate_repo_id` takes with an owner; it has two more rules."""
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_BESIDE = ("adapter_config.json", "config.json", *FULLY_TRAINED)


def locate(source: str, *, fetch: bool = True) -> Path:
    """Return the local folder of an adapter, downloaded first where it is on the Hub.

    Args:
        source: A path, or `owner/name[@revision][:subfolder]`. An existing path wins.
        fetch: Whether it may be downloaded.

    Raises:
        MergeError: the source is neither a folder nor a repository that can be reached.
    """
    if (folder := local_folder(source)) is not None:
        return folder
    match = _HUB_ID.fullmatch(source)
    if match is None or source.startswith((".", "/", "~")):
        raise MergeError(
            "no such folder, and not a Hub id",
            where=source,
            hint=advise_unexpanded(source) or "a Hub id is owner/name[@revision][:subfolder]",
        )
    subfolder = (match["subfolder"] or "").rstrip("/")
    for path in (match["repo"], match["revision"], subfolder):
        if path and any(part in ("", ".", "..") for part in path.split("/")):
            raise MergeError(
                f"{path!r} leads out of the repository",
                where=source,
                hint="name a revision or a folder of the repository itself",
            )
    return _download(source, match["repo"], match["revision"], subfolder, fetch=fetch)


def is_hub_id(name: str) -> bool:
    """Decide whether a name can be that of a repository on the Hub, and is no folder here."""
    if not _REPOSITORY.fullmatch(name) or name.endswith(".git"):
        return False
    return "--" not in name and ".." not in name and not expand_user(name).exists()


def public_name(source: str) -> str:
    """Return a Hub id as it is, and of a folder its own name, for a card that is published."""
    return source if is_hub_id(source.split("@")[0].split(":")[0]) else PurePath(source).name


def local_folder(source: str) -> Path | None:
    """Return the folder of this name, None where this machine has none.

    Raises:
        MergeError: the path is a file.
    """
    if not source:  # which would be the current folder
        return None
    path = expand_user(source)
    with reading(path):
        if path.is_dir():
            return path
        if path.exists():
            raise MergeError("not a folder", where=source, hint=_way_to_folder(path))
    return None


def _way_to_folder(path: Path) -> str:
    """Return advice for a file that was given instead of a folder."""
    if (path.parent / "adapter_config.json").is_file():
        return f"give its folder: {path.parent}"
    archive = next((a for a in _ARCHIVES if path.name.endswith(a)), None)
    if archive is None:
        return "give a folder, not a file in it"
    target = path.name.removesuffix(archive)
    unpack = f"python -m {'zipfile' if archive == '.zip' else 'tarfile'} -e {path} {target}"
    return f"unpack it first: `{unpack}`, and give the folder"


def _download(source: str, repo: str, revision: str | None, subfolder: str, *, fetch: bool) -> Path:
    prefix = f"{subfolder}/" if subfolder else ""
    folder = Path()
    # The .bin twin of a safetensors file would double the download, so it comes second.
    for weights in WEIGHTS:
        shards = weights.replace(".", "-*-of-*.")
        names = (weights, f"{weights}.index.json", shards, *_BESIDE)
        wanted = [prefix + name for name in names]
        folder = Path(snapshot(source, repo, revision, wanted, fetch=fetch)) / prefix
        if any((folder / name).is_file() for name in names[:2]):
            if fetch:
                check_names(source, _names_online(repo, revision, prefix))
            return folder
    raise MergeError(
        f"the repository has neither {WEIGHTS[0]} nor {WEIGHTS[1]}",
        where=source,
        hint="name the folder that holds the adapter: owner/name:subfolder",
    )


def _names_online(repo: str, revision: str | None, prefix: str) -> list[str]:
    """List a repository's files in a folder, of which few are fetched; none without a network."""
    from huggingface_hub import list_repo_files

    try:
        paths = list_repo_files(repo, revision=revision)
    except Exception:  # as in `snapshot`; what is in the cache can be merged all the same
        return []
    names = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    return [name for name in names if "/" not in name]


def snapshot(
    source: str, repo: str, revision: str | None, wanted: list[str], *, fetch: bool = True
) -> str:
    """Download the wanted files of a repository; return the folder they are in.

    Raises:
        MergeError: the Hub refuses, or cannot be reached and the repository is not in the cache.
    """
    from huggingface_hub import snapshot_download

    offline: Any = {} if fetch else {"local_files_only": True}
    try:
        folder: str = snapshot_download(repo, revision=revision, allow_patterns=wanted, **offline)
    except Exception as error:  # the client's HTTP library, and so its errors, differ by version
        raise MergeError(
            f"cannot be fetched from the Hub: {first_line(error)}",
            where=source,
            hint="there is no such folder here; check the name, the network, and `hf auth login` "
            "for private or gated repositories",
        ) from None
    return folder
