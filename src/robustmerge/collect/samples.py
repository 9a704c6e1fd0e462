"""Samples of a task: JSON lines with a text or a prompt, and images next to the file.

    {"text": "…"}                                      taken as it is
    {"prompt": "…", "answer": "…", "image": "x.png"}   put into the chat template, if there is one

`answer` is optional, and so is `image`, of which `images` is a list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MergeError, reading, shown, unknown
from ..files import expand_user, sha256

_FIELDS = {"text", "prompt", "answer", "image", "images"}


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        where: File and line.
        text: The text, or the prompt.
        is_prompt: Whether it goes through the chat template.
        answer: The correct answer, if the file has one.
        images: Files.
    """

    where: str
    text: str
    is_prompt: bool
    answer: str | None
    images: tuple[Path, ...]


@dataclass(frozen=True)
class Samples:
    """The samples of one file that are used.

    Attributes:
        path: The file.
        sha256: Its hash.
        samples: The first of its lines.
    """

    path: Path
    sha256: str
    samples: tuple[Sample, ...]

    @classmethod
    def read(cls, path: str | Path, limit: int) -> Samples:
        """Read at most `limit` samples; images are not opened yet, but must be there.

        Raises:
            MergeError: a line is no sample, or the file has none.
        """
        path = expand_user(path)
        with reading(path), path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            samples: list[Sample] = []
            for number, line in enumerate(file, 1):
                if len(samples) == limit:
                    break
                if line.strip():
                    samples.append(_sample(line, path, f"{path}, line {number}"))
        if not samples:
            raise MergeError(
                "no samples in the file",
                where=str(path),
                hint='one JSON object per line, such as {"prompt": "…", "image": "x.png"}',
            )
        return cls(path, sha256(path), tuple(samples))


def _sample(line: str, path: Path, where: str) -> Sample:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"not JSON: {error}", where) from None
    if not isinstance(content, dict):
        raise _wrong(f"{shown(content)} is not an object", where)
    for field in content:
        if field not in _FIELDS:
            raise unknown("field of a sample", field, _FIELDS, where=where)
    if ("text" in content) == ("prompt" in content):
        raise _wrong("a sample has either a text or a prompt", where)
    if "answer" in content and "text" in content:
        raise _wrong("an answer belongs to a prompt, not to a text", where)
    text = content["text"] if "text" in content else content["prompt"]
    answer = content.get("answer")
    if not isinstance(text, str) or not isinstance(answer, str | None):
        raise _wrong("text, prompt and answer are text", where)
    return Sample(where, text, "prompt" in content, answer, _images(content, path, where))


def _images(content: Mapping[str, Any], path: Path, where: str) -> tuple[Path, ...]:
    if "image" in content and "images" in content:
        raise _wrong("a sample has either an image or images", where)
    names = [content["image"]] if "image" in content else content.get("images", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _wrong("an image is the path of a file", where)
    files = tuple(path.parent / expand_user(name) for name in names)
    for file in files:
        with reading(file):
            if not file.is_file():
                raise MergeError(
                    "no such image",
                    where=f"{file}\n{where}",
                    hint="paths of images are relative to the file of samples",
                )
    return files


def _wrong(problem: str, where: str) -> MergeError:
    return MergeError(
        problem,
        where=where,
        hint='one JSON object per line, such as {"prompt": "…", "answer": "…", "image": "x.png"}',
    )
