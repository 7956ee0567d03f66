"""How every command ends, and how an error of its user looks."""

import io
import os
import sys
from collections.abc import Callable
from typing import Any

from train_fn.errors import InputError

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130


class _Dropping(io.FileIO):
    """An output whose reader may go away, as that of `| head` does: what nobody reads is dropped.

    The command goes on and ends with its own exit code; a search is not lost because nobody looks at it.
    """

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno(), inheritable=True)
            os.close(nowhere)
            return super().write(data)


def run_command(main: Callable[[], int]) -> None:
    """Run a command and exit with its code; an `InputError` becomes one line and code 2.

    Ctrl-C before there is anything to keep exits with 130.
    """
    sys.stdout, sys.stderr = _kept_open(sys.stdout), _kept_open(sys.stderr)
    try:
        code = main()
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = EXIT_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.stdout.flush()
    sys.exit(code)


def _kept_open(stream: Any) -> Any:
    """Return an output that outlives its reader, and is written line by line also to a file or a pipe."""
    if stream not in (sys.__stdout__, sys.__stderr__) or not isinstance(stream, io.TextIOWrapper):
        return stream  # of a test
    stream.flush()
    raw = io.BufferedWriter(_Dropping(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        raw,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
        write_through=stream.write_through,
    )
