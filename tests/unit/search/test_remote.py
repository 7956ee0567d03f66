"""What a followed search is asked to run."""

import shlex
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from search.remote import is_dashboard, job_command, run_remotely
from train_fn.errors import InputError


def test_the_job_runs_what_was_typed_without_the_address() -> None:
    typed = ["exp4", "--address", "http://127.0.0.1:8265", "--set", "data.sources=my file.jsonl", "--fresh"]
    command = job_command(typed)
    assert shlex.split(command)[3:] == ["exp4", "--set", "data.sources=my file.jsonl", "--fresh"]
    assert job_command(["exp4", "--address=http://head:8265"]) == "python -m search.run exp4"


def test_an_abbreviated_address_is_left_out_too() -> None:
    assert job_command(["--addr", "http://head:8265", "exp4"]) == "python -m search.run exp4"


def test_a_dashboard_is_told_from_a_cluster_to_connect_to() -> None:
    assert is_dashboard("http://127.0.0.1:8265")
    assert is_dashboard("https://ray.example.org")
    assert not is_dashboard("10.0.0.1:6379")
    assert not is_dashboard("")


def test_a_dashboard_that_does_not_answer_is_told_with_the_fix() -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9.*no Ray dashboard answers.*`ray dashboard"):
        run_remotely("http://127.0.0.1:9", ["exp4"], "/srv/runs")


def test_the_address_that_was_given_is_asked_whatever_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="no Ray dashboard answers"):
        run_remotely(f"http://127.0.0.1:{server.server_port}", ["exp4"], "/srv/runs")
    server.shutdown()
    server.server_close()
    assert asked


def test_a_folder_of_this_machine_is_no_storage_for_a_cluster() -> None:
    with pytest.raises(InputError, match="--storage 'runs' must be a full path"):
        run_remotely("http://127.0.0.1:9", ["exp4"], "runs")
