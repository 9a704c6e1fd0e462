"""Methods of your own: a Python file, or a module, that registers them when it is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from ..errors import MergeError, advise_unexpanded
from ._registry import every

_LOADED: dict[str, ModuleType] = {}


def load_plugin(source: str) -> ModuleType:
    """Load a file such as `my_method.py`, or an installed module such as `lab.merging`.

    What it registers with `robustmerge.methods.method` is then a method like any other. Loading it
    once more does nothing.

    Raises:
        MergeError: no such file or module, an error in it, or no method registered.
    """
    key = str(Path(source).resolve()) if source.endswith(".py") else source
    if key in _LOADED:
        return _LOADED[key]
    before = {method.name: method.function for method in every()}
    try:
        module = _run_file(Path(source)) if source.endswith(".py") else _import(source)
    except MergeError:
        raise
    except Exception as error:
        raise MergeError(
            f"the plugin fails when it is loaded: {type(error).__name__}: {error}",
            where=source,
            hint=f"python {source} shows where" if source.endswith(".py") else "fix the module",
        ) from error
    if all(before.get(method.name) is method.function for method in every()):
        raise MergeError(
            "the plugin registers no method",
            where=source,
            hint="put @robustmerge.methods.method('name') on a function of it",
        )
    _LOADED[key] = module
    return module


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        hint = advise_unexpanded(path) or "name a Python file"
        raise MergeError("there is no such plugin", where=str(path), hint=hint)
    name = f"robustmerge_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a method's page is its module's docstring, found by this name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise MergeError(
                f"there is no module {name!r}",
                where="plugins",
                hint=advise_unexpanded(name)
                or "a file's name ends in .py; a module must be installed",
            ) from None
        raise
