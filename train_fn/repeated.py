"""Do something again and again, beside what the process is there for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(act: Callable[[threading.Event], None], every_s: float, name: str) -> Iterator[None]:
    """Call `act` every `every_s` seconds within the block, from a thread of its own.

    The first call comes after `every_s` seconds. The block waits at its end for a call under way.

    Args:
        act: Gets an event that is set when the block has ended. It may set it: then it is not called again.
        every_s: Seconds between two calls.
        name: Of the thread.
    """
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every_s):
            act(over)

    thread = threading.Thread(target=go_on, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
