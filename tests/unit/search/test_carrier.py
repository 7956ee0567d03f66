from collections.abc import Iterator
from pathlib import Path

import pytest

from search import remote_lock
from search.carrier import carrying
from search.events import Decided, Ended, WeightsRemoved
from search.ledger import FILE_NAME, Ledger
from search.lock import locked
from search.state import SearchState, replay
from tests.object_store import S3Server, s3_server
from tests.unit.search.recorded import small_search
from train_fn import object_store
from train_fn.errors import InputError
from train_fn.working_copy import send_folder, working_copy


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lock, "SETTLE_S", 0.0)


@pytest.fixture
def address(server: S3Server, tmp_path: Path) -> str:
    return server.address(tmp_path.name)


def storage(machine: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / machine))
    return working_copy(address)


def run(here: Path) -> Path:
    """Run a search: trial 2 is halved, 0 and 1 finish, and of 1 alone the weights stay."""
    folder = here / "exp9"
    with locked(here / "exp9.lock") as lock, carrying(here, "exp9", lock) as carrier:
        assert carrier is not None
        ledger = Ledger(folder / FILE_NAME)
        for number in (0, 1, 2):
            for what in ("checkpoints/tokens-000000001000", "weights"):
                part = folder / "trials" / f"{number:04d}" / what
                part.mkdir(parents=True)
                (part / "file").write_text("content")
                send_folder(part)
        for event in [*small_search(), WeightsRemoved(9.0, 0)]:
            ledger.append(event)
            carrier.listen(SearchState(), event)
        ledger.close()
        (folder / "summary.json").write_text("{}")
    return folder


def test_a_search_goes_on_where_nothing_of_it_is_left(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(storage("a", address, tmp_path, monkeypatch))
    there = storage("b", address, tmp_path, monkeypatch)
    with locked(there / "exp9.lock") as lock, carrying(there, "exp9", lock):
        assert (there / "exp9" / FILE_NAME).read_bytes() == (folder / FILE_NAME).read_bytes()
        assert (there / "exp9" / "summary.json").read_text() == "{}"


def test_what_nobody_needs_any_more_is_removed_from_the_store(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(storage("a", address, tmp_path, monkeypatch))
    left = {path for path in object_store.listed(address, "exp9/trials") if path.endswith("file")}
    assert left == {"0001/weights/file"}


def test_a_checkpoint_that_is_ahead_of_the_ledger_counts_as_never_made(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = storage("a", address, tmp_path, monkeypatch)
    with locked(here / "exp9.lock") as lock, carrying(here, "exp9", lock):
        ledger = Ledger(here / "exp9" / FILE_NAME)
        running = [event for event in small_search() if not isinstance(event, Ended | Decided)]
        seen = replay(running).trials[0].tokens_seen
        for event in running:
            ledger.append(event)
        ledger.close()
        for number, tokens in ((0, seen), (0, seen + 1), (77, 1)):
            part = here / "exp9" / "trials" / f"{number:04d}" / "checkpoints" / f"tokens-{tokens:012d}"
            part.mkdir(parents=True)
            (part / "file").write_text("content")
            send_folder(part)
    left = {path for path in object_store.listed(address, "exp9/trials") if path.endswith("file")}
    assert left == {f"0000/checkpoints/tokens-{seen:012d}/file"}


def test_a_shared_folder_needs_no_carrier(tmp_path: Path) -> None:
    with locked(tmp_path / "exp9.lock") as lock, carrying(tmp_path, "exp9", lock) as carrier:
        assert carrier is None


def test_a_working_copy_of_another_search_is_moved_aside(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = storage("a", address, tmp_path, monkeypatch)
    run(here)
    object_store.remove_below(address, "exp9")
    with locked(here / "exp9.lock") as lock, carrying(here, "exp9", lock):
        assert not (here / "exp9" / FILE_NAME).exists()
    assert (here / "exp9.1" / "exp9" / FILE_NAME).exists()
    assert "held another search of this name; it is kept in" in capsys.readouterr().out


@pytest.mark.slow  # waits until it gives the store up
def test_what_the_store_lacks_at_the_end_is_one_clear_line_and_is_sent_later(
    address: str, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "RETRY_S", 0.1)
    here = storage("a", address, tmp_path, monkeypatch)
    with locked(here / "exp9.lock") as lock, carrying(here, "exp9", lock) as carrier:
        assert carrier is not None
        Ledger(here / "exp9" / FILE_NAME).append(small_search()[0])
        server.fail_next = 10_000
        with pytest.raises(InputError, match=r"the storage s3://.* fails: .*the same command goes on$"):
            carrier.close()
        server.fail_next = 0
    assert object_store.get(address, "exp9/events.jsonl") == (here / "exp9" / FILE_NAME).read_bytes()
