"""Skip a test that a machine cannot run, unless the machine was promised to run it."""

import os

import pytest


def skip(name: str, reason: str) -> None:
    """Skip; where `FORBID_SKIPS` (names, comma separated) holds the name, fail instead."""
    if name in os.environ.get("FORBID_SKIPS", "").split(","):
        pytest.fail(f"{reason}, and FORBID_SKIPS names {name}", pytrace=False)
    pytest.skip(reason)
