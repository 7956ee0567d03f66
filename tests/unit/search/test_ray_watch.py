import socket
import time

import pytest

from search import ray_watch
from search.ray_watch import control_store


def test_a_control_store_is_lost_once_it_was_silent_for_long_by_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_watch, "PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lost = control_store(f"127.0.0.1:{port}")
        time.sleep(0.4)
        assert lost() is None, "it answers"
    assert lost() is None, "it has only just fallen silent"
    time.sleep(0.4)
    assert lost() == f"Ray at 127.0.0.1:{port} does not answer", "one look may itself have taken seconds"
