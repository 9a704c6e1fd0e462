"""What a refusal must be: it says what, where and what to do, and leaves the disk as it was."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from robustmerge.cli.app import run
from robustmerge.engine.merge import merge_recipe
from robustmerge.engine.recipe import Recipe
from robustmerge.engine.report import MergeReport
from robustmerge.errors import MergeError


def tree(root: Path) -> dict[str, bytes]:
    """Everything under a folder, hidden things and links included, with the files' contents."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"folder"
        for path in root.rglob("*")
    }


def merge(sources: Sequence[Path | str], output: Path, **options: Any) -> MergeReport:
    """Merge; `force` and `workers` are options of the run, all else is in the recipe."""
    inputs_ = {name: options.pop(name) for name in ("force", "workers") if name in options}
    recipe = {"adapters": list(sources), **options}
    return merge_recipe(Recipe.from_dict(recipe, where="the test"), output, **inputs_)


def command(*arguments: object) -> tuple[int, str]:
    """Run the command in this process, where an exception would come through."""
    with redirect_stderr(io.StringIO()) as errors:
        code = run([str(argument) for argument in arguments])
    return code, errors.getvalue()


def refused(action: Callable[[], object], *messages: str) -> MergeError:
    """The error of an action, which must have a hint and say all of this."""
    with pytest.raises(MergeError) as caught:
        action()
    error = caught.value
    assert error.hint, error
    for part in messages:
        assert part in str(error), str(error)
    return error


def refused_merge(
    root: Path, sources: Sequence[Path | str], *messages: str, **options: Any
) -> MergeError:
    """The error of a merge into a new folder of a new folder of `root`.

    The command line fails alike, and neither leaves anything behind.
    """
    before, output = tree(root), root / "new" / "merged"
    error = refused(lambda: merge(sources, output, **options), *messages)
    assert tree(root) == before
    code, errors = command("merge", *sources, "-o", output, *_flags(options))
    assert code == 1
    assert error.problem in errors
    assert error.hint in errors
    assert "Traceback" not in errors
    assert tree(root) == before
    return error


def _flags(options: Mapping[str, Any]) -> list[str]:
    flags = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "parameters":
            flags += [f"--set={key}={setting}" for key, setting in value.items()]
        elif value is True:
            flags.append(flag)
        elif isinstance(value, list):
            flags.append(f"{flag}={','.join(map(str, value))}")
        else:
            flags.append(f"{flag}={value}")
    return flags
