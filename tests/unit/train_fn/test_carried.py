import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.ledger import FILE_NAME
from search.study import JOURNAL
from tests.object_store import S3Server, s3_server
from train_fn import carried, object_store
from train_fn.errors import InputError
from train_fn.working_copy import working_copy


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def homes(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The search's folder on two machines."""
    address, folders = server.address(tmp_path.name), []
    for home in ("one", "other"):
        monkeypatch.setenv("HOME", str(tmp_path / home))
        folders.append(working_copy(address) / "exp4")
        folders[-1].mkdir()
    return folders[0], folders[1]


def grow(folder: Path, ledger: str, journal: str) -> None:
    with (folder / carried.LEDGER).open("a") as file:
        file.write(ledger)
    with (folder / carried.JOURNAL).open("a") as file:
        file.write(journal)


def test_the_names_are_those_of_the_search() -> None:
    assert (carried.LEDGER, carried.JOURNAL) == (FILE_NAME, JOURNAL)


def test_ledger_and_journal_arrive_as_they_were_at_one_instant(homes: tuple[Path, Path]) -> None:
    here, there = homes
    grow(here, "one\n", "asked\n")
    instant = carried.instant_of(here)
    grow(here, "two\n", "told\n")
    carried.send_growing(here, instant)
    carried.fetch_search(there)
    assert (there / carried.LEDGER).read_text() == "one\n"
    assert (there / carried.JOURNAL).read_text() == "asked\n"


def test_a_sending_that_was_cut_leaves_the_instant_before(
    homes: tuple[Path, Path], server: S3Server, tmp_path: Path
) -> None:
    here, there = homes
    grow(here, "one\n", "asked\n")
    carried.send_growing(here, carried.instant_of(here))
    grow(here, "two\n", "told\n")
    # The longer ledger has arrived, the journal and what says so have not.
    object_store.put(server.address(tmp_path.name), "exp4/events.jsonl", (here / carried.LEDGER).read_bytes())
    assert carried.read_growing(there) == (b"one\n", b"asked\n")


def test_a_working_copy_that_is_ahead_of_the_store_keeps_its_own(homes: tuple[Path, Path]) -> None:
    here, there = homes
    grow(here, "one\n", "asked\n")
    carried.send_growing(here, carried.instant_of(here))
    grow(here, "two\n", "")
    carried.fetch_search(here)
    assert (here / carried.LEDGER).read_text() == "one\ntwo\n"
    grow(there, "another\n", "")
    carried.fetch_search(there)
    assert (there / carried.LEDGER).read_text() == "one\n"


def test_small_files_are_fetched_where_they_are_older(homes: tuple[Path, Path], server: S3Server) -> None:
    here, there = homes
    for name in ("summary.json", "report.html.partial", ".hidden", "study.journal.lock"):
        (here / name).write_text("new")
    assert [file.name for file in carried.small_files(here)] == ["summary.json"]
    for file in carried.small_files(here):
        from train_fn.working_copy import send_file

        send_file(file)
    (there / "summary.json").write_text("old")
    os.utime(there / "summary.json", (1, 1))
    carried.fetch_search(there)
    assert (there / "summary.json").read_text() == "new"
    (there / "summary.json").write_text("newer")
    os.utime(there / "summary.json", (2**33, 2**33))
    carried.fetch_search(there)
    assert (there / "summary.json").read_text() == "newer"


def test_a_store_without_the_search_has_none(homes: tuple[Path, Path]) -> None:
    assert carried.read_growing(homes[0]) is None
    carried.fetch_search(homes[0])
    assert list(homes[0].iterdir()) == []


def test_a_ledger_that_became_shorter_is_refused(
    homes: tuple[Path, Path], server: S3Server, tmp_path: Path
) -> None:
    grow(homes[0], "one\ntwo\n", "")
    carried.send_growing(homes[0], carried.instant_of(homes[0]))
    object_store.put(server.address(tmp_path.name), "exp4/events.jsonl", b"one\n")
    with pytest.raises(InputError, match=r"events.jsonl of s3://.* has 4 of its 8 bytes; restore it"):
        carried.fetch_search(homes[1])
