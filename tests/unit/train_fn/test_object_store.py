from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from tests.object_store import S3Server, s3_server
from train_fn import object_store
from train_fn.errors import InputError


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "RETRY_S", 0.1)


def test_an_object_is_written_read_listed_and_removed(server: S3Server) -> None:
    address = server.address("one")
    object_store.put(address, "a/b.txt", b"first")
    object_store.put(address, "a/b.txt", b"second")
    object_store.put(address, "a/c/d.txt", b"")
    assert object_store.get(address, "a/b.txt") == b"second"
    assert object_store.get(address, "a/none.txt") is None
    assert set(object_store.listed(address, "a")) == {"b.txt", "c/d.txt"}
    assert set(object_store.listed(address, "a", recursive=False)) == {"b.txt"}
    assert object_store.listed(address, "none") == {}
    object_store.remove(address, "a/b.txt")
    object_store.remove(address, "a/b.txt")
    object_store.remove_below(address, "a/c")
    object_store.remove_below(address, "a/none")
    assert object_store.listed(address, "a") == {}


def test_a_store_that_answers_500_for_a_while_is_asked_again(server: S3Server) -> None:
    address = server.address("away")
    server.fail_next = 5
    object_store.put(address, "a", b"in the end")
    assert server.fail_next == 0
    server.fail_next = 5
    assert object_store.get(address, "a") == b"in the end"


@pytest.mark.usefixtures("impatient")
@pytest.mark.slow  # waits until it gives the store up
def test_a_store_that_stays_away_is_one_line(server: S3Server) -> None:
    address = server.address("gone")
    server.fail_next = 1000
    try:
        with pytest.raises(
            InputError, match=r"^the storage s3://bucket/gone\?.* fails: .*same command goes on$"
        ) as told:
            object_store.put(address, "a", b"")
    finally:
        server.fail_next = 0
    assert "\n" not in str(told.value)
    assert object_store.get(address, "a") is None


def test_a_bucket_that_is_not_there_is_said_at_once(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store.time, "sleep", None)  # whoever waits before asking again fails here
    with pytest.raises(InputError, match="NO_SUCH_BUCKET"):
        object_store.put(server.address("x", bucket="nobody"), "a", b"")


def test_an_object_that_comes_cut_is_fetched_again(server: S3Server, tmp_path: Path) -> None:
    address, content = server.address("cut"), b"0123456789" * 100_000
    object_store.put(address, "a", content)
    server.cut_next = 1
    object_store.fetch(address, "a", tmp_path / "a", len(content))
    assert server.cut_next == 0
    assert (tmp_path / "a").read_bytes() == content


@pytest.mark.usefixtures("impatient")
def test_an_object_of_another_size_than_its_index_says_is_refused(server: S3Server, tmp_path: Path) -> None:
    address = server.address("short")
    object_store.put(address, "a", b"half")
    with pytest.raises(InputError, match="a came with 4 of its 8 bytes"):
        object_store.fetch(address, "a", tmp_path / "a", 8)


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("s3://me:hunter2@bucket/path", "a password"),
        ("s3://bucket/path?secret_key=hunter2", "a 'secret_key'"),
        ("abfs://container/path?sas_token=hunter2", "a 'sas_token'"),
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(address: str, held: str) -> None:
    with pytest.raises(InputError, match=held) as told:
        object_store.check_address(address)
    assert "hunter2" not in str(told.value)


def test_an_address_that_nothing_opens_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"--storage 'nope://x' cannot be opened: .*; write s3://bucket/path"
    ):
        object_store.check_address("nope://x")


@pytest.mark.parametrize("address", ["http://x/y", "HTTPS://x/y", "fsspec+https://x/y"])
def test_an_address_that_is_only_read_is_refused_before_it_is_asked(address: str) -> None:
    with pytest.raises(InputError, match=r"cannot be written, as http only reads; give a folder, or"):
        object_store.check_address(address)


@pytest.mark.parametrize("scheme", ["memory://", "file://"])
def test_other_file_systems_do_as_well(scheme: str, tmp_path: Path) -> None:
    address = f"{scheme}{tmp_path}/store"
    object_store.put(address, "a/b", b"first")
    object_store.put(address, "a/b", b"second")
    assert object_store.get(address, "a/b") == b"second"
    assert set(object_store.listed(address, "")) == {"a/b"}
    object_store.remove_below(address, "a")
    assert object_store.get(address, "a/b") is None


class Flaky(LocalFileSystem):
    """A file system whose renames fail for a while."""

    protocol = "flaky"
    fail_next = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(LocalFileSystem._strip_protocol(str(path).removeprefix("flaky://")))

    def mv(self, path1: str, path2: str, **kwargs: object) -> None:
        if Flaky.fail_next > 0:
            Flaky.fail_next -= 1
            raise OSError("connection reset by peer")
        super().mv(path1, path2, **kwargs)


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(object_store, "_FIRST_PAUSE_S", 0.01)
    return f"flaky://{tmp_path}/store"


def test_a_rename_that_fails_for_a_while_leaves_nothing_but_the_object(flaky: str) -> None:
    Flaky.fail_next = 2
    object_store.put(flaky, "a/b", b"in the end")
    assert Flaky.fail_next == 0
    assert set(object_store.listed(flaky, "")) == {"a/b"}
    assert object_store.get(flaky, "a/b") == b"in the end"


@pytest.mark.usefixtures("impatient")
def test_an_object_that_is_given_up_leaves_nothing(flaky: str) -> None:
    Flaky.fail_next = 1000
    with pytest.raises(InputError, match="connection reset by peer"):
        object_store.put(flaky, "a/b", b"never")
    assert object_store.listed(flaky, "") == {}
