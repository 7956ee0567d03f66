"""What every command of this package shares: how it ends, and how an error looks."""

import logging
import os
import sys
from collections.abc import Callable

from train_fn.errors import InputError

EXIT_INPUT, EXIT_INTERRUPTED = 2, 130


def prepare_environment() -> None:
    """Set what torch and transformers read from the environment, unless the user already did.

    Must run before either is imported. DeepSpeed, which transformers imports where it is installed, may speak
    of errors only: nothing here trains.
    """
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on two busy cores took five times as long
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


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
