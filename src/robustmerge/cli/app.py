"""The command `robustmerge`.

Nothing here or in the verbs' signatures imports torch, so that help and usage errors are instant.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from types import FrameType
from typing import Annotated, NoReturn, TextIO, cast

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from .._version import __version__
from ..errors import MergeError, enough_memory
from ..escape import PrintableStream
from .check import check
from .collect import collect
from .convert import convert
from .diagnose import diagnose
from .export import export
from .extract import extract
from .merge import merge
from .methods import methods
from .resize import resize
from .show import show
from .tune import tune

_NARROWEST = 20  # characters of a screen

app = App(
    name="robustmerge",
    help="Merge LoRA adapters of one model into one adapter: from files, without training, "
    "data or the base model.",
    version=__version__,
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # handled here, with a word about what was written
)
app.command(merge)
app.command(show)
app.command(check)
app.command(diagnose)
app.command(collect)
app.command(export)
app.command(resize)
app.command(extract)
app.command(convert)
app.command(methods)
app.command(tune)


def _add_commands_of_other_packages() -> None:
    """Add the verbs that installed distributions offer, such as `bench` of robustmerge-bench."""
    offered = {entry.name: entry for entry in entry_points(group="robustmerge.commands")}
    for name, entry in sorted(offered.items()):
        app.command(entry.load(), name=name)
    if "bench" not in offered:
        app.command(_bench, name="bench", show=False)


def _bench(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> NoReturn:
    """Say where the benchmarks are."""
    del arguments
    raise MergeError(
        "the benchmarks are a package of their own, which is not installed",
        where="robustmerge bench",
        hint="pip install robustmerge-bench",
    )


_add_commands_of_other_packages()


def main() -> NoReturn:
    """Run the command; exit 0, 1 on a user's error, 2 on wrong usage, 130 on an interrupt."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # no SIGHUP on Windows
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup does
            signal.signal(number, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path need not be text
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    if os.environ.get("COLUMNS", "").isdigit() and int(os.environ["COLUMNS"]) < _NARROWEST:
        del os.environ["COLUMNS"]  # 0 in some containers, and tables would be cut to nothing
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    with _printable():
        return _run(arguments, errors)


@contextmanager
def _printable() -> Iterator[None]:
    """Keep control characters in names off the screen."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (s and cast(TextIO, PrintableStream(s)) for s in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def _run(arguments: list[str], errors: Console) -> int:
    try:
        with enough_memory():
            code = app(
                arguments,
                exit_on_error=False,
                print_error=True,
                error_console=Console(stderr=True, highlight=False),  # its panel wraps lines itself
                result_action="return_value",
            )
        if sys.stdout is not None:  # as in a shell's >&-
            sys.stdout.flush()
    except CycloptsError:
        return 2
    except MergeError as error:
        errors.print("error: ", style="bold red", end="", markup=False, emoji=False)
        errors.print(str(error), markup=False, emoji=False)
        return 1
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was left half written")
        return 130
    except (BrokenPipeError, SystemExit) as error:
        # Whoever read the output has seen enough; rich makes an exit of it.
        if not isinstance(error, BrokenPipeError) and not isinstance(
            error.__context__, BrokenPipeError
        ):
            raise
        _drop_output()
        return 0
    except OSError as error:  # those of files are MergeErrors
        with suppress(OSError):
            problem = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
            errors.print("error: ", style="bold red", end="", markup=False, emoji=False)
            lost = error.errno == errno.ENOENT  # no temporary folder, which is no matter of output
            what = "cannot make a file" if lost else "cannot write to standard output"
            errors.print(f"{what}: {problem}", markup=False)
            errors.print("  hint: files that the command wrote are whole; free some space")
        _drop_output()
        return 1
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """Send what is still to be printed to nowhere, so that the end of Python finds no error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave through the same door as an error, so that nothing half-written stays."""
    del frame
    signal.signal(signum, signal.SIG_IGN)  # a second one must not disturb the cleaning up
    sys.exit(128 + signum)
