"""Importing large libraries without looking for garbage among what they leave behind."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Collect no garbage within the block, and never look at what is there after it again.

    Torch, Ray and DeepSpeed leave half a million objects that live as long as the process. Collections while
    they are imported took a seventh to a quarter of the time, and each full one later 0.3 s (`gc.freeze` in
    Python's documentation).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
