"""The two Java programs of the COCO caption evaluation, which the extra `captions` installs.

    tokenize         Stanford's tokenizer, then without punctuation
    count_matches    METEOR 1.5's counts of matched words in a caption and its best reference

Both take all captions at once. Cost: METEOR loads its table of paraphrases, 10 to 20 s and 1 GB,
and then takes about 0.2 ms for a caption with five references; the tokenizer takes 1 s.

Source: pycocoevalcap 1.2, whose files these are and whose command lines are repeated here.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from robustmerge.errors import MergeError

from .captions import Caption
from .ngrams import Words

_METEOR = "meteor/meteor-1.5.jar"
_TOKENIZER = "tokenizer/stanford-corenlp-3.4.1.jar"
_UTF8 = "-Dfile.encoding=UTF-8"  # in every locale
_CLASS = "edu.stanford.nlp.process.PTBTokenizer"
# Punctuation, in the tokenizer's names. Those of brackets are in capitals, and so drop nothing.
_MARKS = "'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;"
_DROPPED = frozenset(_MARKS.split())


def missing_software() -> str:
    """Return what must be installed before either program runs; '' if nothing."""
    if shutil.which("java") is None:
        return "java is not installed"
    if _folder() is None:
        return "pycocoevalcap is not installed: pip install 'robustmerge-bench[captions]'"
    return ""


def tokenize(texts: Sequence[str]) -> list[Words]:
    """Split each text into words as the official evaluation does."""
    joined = "\n".join(" ".join(text.split()) for text in texts)
    lines = _run(_UTF8, "-cp", _TOKENIZER, _CLASS, "-preserveLines", "-lowerCase", lines=joined)
    if len(lines) != len(texts):
        raise _failed(f"the tokenizer gave {len(lines)} lines for {len(texts)} captions")
    return [tuple(w for w in line.split(" ") if w and w not in _DROPPED) for line in lines]


def count_matches(captions: Sequence[Caption]) -> list[list[float]]:
    """Return METEOR's 23 counts for each caption and its most similar reference."""
    requests = (" ||| ".join(("SCORE", *map(_plain, rs), _plain(c))) for c, rs in captions)
    command = (_UTF8, "-Xmx2G", "-jar", _METEOR, "-", "-", "-stdio", "-l", "en", "-norm")
    answers = _run(*command, lines="\n".join(requests))
    try:
        counts = [[float(part) for part in line.split()] for line in answers]
    except ValueError:
        raise _failed(f"METEOR answered {answers[0]:.80}") from None
    if len(counts) != len(captions) or any(len(line) != 23 for line in counts):
        raise _failed(f"METEOR gave {len(counts)} lines of counts for {len(captions)} captions")
    return counts


def _plain(text: str) -> str:
    """Return a text that is one field of METEOR's input."""
    return " ".join(text.replace("|||", "").split())


@lru_cache(maxsize=4)  # two protocols mostly have the same captions
def _run(*command: str, lines: str) -> tuple[str, ...]:
    if problem := missing_software():
        raise MergeError(
            problem, where="METEOR and the official tokenizer", hint="install it, or do without"
        )
    folder = _folder()
    assert folder is not None
    paths = [str(folder / part) if part in (_METEOR, _TOKENIZER) else part for part in command]
    done = subprocess.run(
        ["java", *paths],
        input=lines + "\n",
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        cwd=(folder / _METEOR).parent,
    )
    if done.returncode:
        raise _failed(f"java ended with code {done.returncode}: {done.stderr.strip()[-200:]}")
    return tuple(done.stdout.removesuffix("\n").split("\n"))


def _failed(problem: str) -> MergeError:
    return MergeError(
        problem,
        where="METEOR and the official tokenizer, which run in Java",
        hint="METEOR takes 2 GB of memory; without java in the PATH, the other metrics are scored",
    )


def _folder() -> Path | None:
    """Return the extra's folder; importing the package would only cost time."""
    spec = find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return next((Path(p) for p in folders if (Path(p) / _METEOR).is_file()), None)
