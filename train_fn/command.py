"""How every command ends, and how an error of its user looks."""

import io
import sys
from collections.abc import Callable

from train_fn.errors import InputError

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130


def run_command(main: Callable[[], int]) -> None:
    """Run a command and exit with its code; an `InputError` becomes one line and code 2.

    Ctrl-C before there is anything to keep exits with 130.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a line is news also when a file or a pipe reads it
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
