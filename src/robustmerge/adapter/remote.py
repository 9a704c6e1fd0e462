"""The headers of a checkpoint on the Hub, a few kilobytes, without the checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..errors import MergeError, first_line
from .tensors import TensorSpec


class HeaderOnly:
    """A safetensors file of which only the header was fetched.

    Attributes:
        path: Its name, with the repository's in front.
        specs: Type and shape of every tensor.
    """

    def __init__(self, path: Path, specs: dict[str, TensorSpec]) -> None:
        self.path = path
        self.specs = specs

    def read(self, name: str) -> Tensor:
        """Refuse: the tensors were not downloaded.

        Raises:
            MergeError: always.
        """
        raise MergeError(
            "only the header of this file was fetched",
            where=f"{self.path}  {name}",
            hint="download the model and name its folder",
        )

    def read_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Refuse likewise."""
        return self.read(name)

    def stored_rows(self, name: str, begin: int, end: int) -> Tensor:
        """Refuse likewise."""
        return self.read(name)

    def close(self) -> None:
        """Do nothing: no file is open."""


def fetch_headers(repo: str) -> list[HeaderOnly]:
    """Fetch the headers of a repository's safetensors files.

    Raises:
        MergeError: the Hub refuses or cannot be reached, or the repository has no safetensors.
    """
    from huggingface_hub import get_safetensors_metadata

    try:
        files = get_safetensors_metadata(repo).files_metadata
    except Exception as error:  # the client's HTTP library, and so its errors, differ by version
        raise MergeError(
            f"the base's headers cannot be fetched from the Hub: {first_line(error)}",
            where=repo,
            hint="check the name and the network, or name a folder that holds the model",
        ) from None
    return [
        HeaderOnly(
            Path(repo, name),
            {n: TensorSpec(t.dtype, tuple(t.shape)) for n, t in file.tensors.items()},
        )
        for name, file in files.items()
    ]


def find_cached(repo: str) -> Path | None:
    """Return the folder of a repository that was downloaded before, perhaps in part, or None."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except Exception:  # as above; whatever it is, there is no folder
        return None
