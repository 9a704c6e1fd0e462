"""The command `robustmerge`.

Nothing here or in the verbs' signatures imports torch, so that help and usage errors are instant.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

from cyclopts import App, CycloptsError
from rich.console import Console

from .. import __version__
from ..errors import MergeError
from .merge import merge
from .methods import methods

app = App(
    name="robustmerge",
    help="Merge LoRA adapters of one model into one adapter: from files, without training, "
    "data or the base model.",
    version=__version__,
    version_flags=["--version"],
)
app.command(merge)
app.command(methods)


def main() -> NoReturn:
    """Run the command; exit 0, 1 on a user's error, 2 on wrong usage, 130 on an interrupt."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app(arguments, exit_on_error=False, print_error=True, error_console=errors)
    except CycloptsError:
        return 2
    except MergeError as error:
        errors.print("error: ", style="bold red", end="")
        errors.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was written")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return 0


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    """Leave through the same door as an error, so that nothing half-written stays."""
    del frame
    sys.exit(128 + signum)
