import os
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import ray

from search.local_ray import connected
from train_fn.errors import InputError

STORE = "10.0.0.7:6379"


@pytest.mark.parametrize("before", [None, "10.0.0.1:6379"])
def test_the_state_api_asks_the_ray_of_the_command(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Its functions take RAY_ADDRESS before their argument, and find none where two Rays are on a machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if before is not None:
        monkeypatch.setenv("RAY_ADDRESS", before)
    info = {"gcs_address": STORE, "session_dir": "ray/session_1"}
    context = SimpleNamespace(get_job_id=lambda: "01000000")
    monkeypatch.setattr(ray, "init", lambda **_: SimpleNamespace(address_info=info))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with connected("auto") as instance:
        assert os.environ["RAY_ADDRESS"] == instance.control_store == STORE
    assert os.environ.get("RAY_ADDRESS") == before


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:x", "http://127.0.0.1:1"])
def test_what_is_no_address_is_one_line(address: str) -> None:
    with pytest.raises(InputError, match=rf"{address}. is none of .*; write host:port"), connected(address):
        pass


def test_a_fault_of_our_own_ray_is_none_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", Mock(side_effect=ValueError("bug")))
    with pytest.raises(ValueError, match="bug"), connected(""):
        pass
