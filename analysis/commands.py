"""What every command of this package shares: how it ends, and how an error looks."""

import sys
from collections.abc import Callable

from train_fn.errors import InputError

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130


def run_command(main: Callable[[], int]) -> None:
    """Run a command and exit with its code; an `InputError` becomes one line and code 2."""
    try:
        code = main()
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = EXIT_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)
