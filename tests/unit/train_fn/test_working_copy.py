import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.object_store import S3Server, s3_server
from train_fn import object_store
from train_fn.errors import InputError
from train_fn.working_copy import (
    Place,
    fetch_folder,
    is_on_store,
    local_storage,
    place_of,
    remove_from_store,
    send_file,
    send_folder,
    shown,
    whole_folders,
    working_copy,
)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def address(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path / "one"))
    return server.address(tmp_path.name)


def on_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    return working_copy(address)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def test_a_working_copy_knows_what_it_is_a_copy_of(address: str, tmp_path: Path) -> None:
    here = working_copy(address)
    assert here == working_copy(address) == local_storage(address)
    assert shown(here) == address
    assert here != working_copy(address.replace("?", "2?"))
    place = place_of(here / "exp4" / "summary.json")
    assert place == Place(address, "exp4/summary.json")
    assert str(place).startswith(f"s3://bucket/{tmp_path.name}/exp4/summary.json?scheme=http&")


def test_an_ordinary_folder_is_left_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "exp4", a="1")
    assert local_storage("runs") == Path("runs")
    assert shown(tmp_path) == str(tmp_path)
    assert place_of(folder) is None
    send_file(folder / "a")
    send_folder(folder)
    assert fetch_folder(folder)
    assert not fetch_folder(tmp_path / "none")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "exp4"]


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_storage_is_not_the_current_folder(empty: str) -> None:
    with pytest.raises(InputError, match=r"names no folder .*; give one, for example --storage runs"):
        local_storage(empty)


def test_a_folder_comes_to_another_machine_whole(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = write(working_copy(address) / "exp4" / "weights", a="1", b="")
    write(sent / "deep", c="3")
    send_folder(sent)
    there = on_another_machine(monkeypatch, tmp_path, address) / "exp4" / "weights"
    assert fetch_folder(there)
    assert {file.relative_to(there).as_posix() for file in there.rglob("*") if file.is_file()} == {
        "a", "b", "deep/c",
    }  # fmt: skip
    assert (there / "deep" / "c").read_text() == "3"
    assert whole_folders(Place(address, "exp4")) == ["weights"]
    remove_from_store(Place(address, "exp4/weights"))
    assert object_store.listed(address, "exp4") == {}
    assert not is_on_store(there)
    assert not fetch_folder(there)


def test_a_folder_whose_sending_was_cut_is_not_there(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = write(working_copy(address) / "weights", a="1", b="2")
    send_folder(sent)
    with monkeypatch.context() as cut:
        cut.setattr(object_store, "put", lambda *args: 1 / 0)  # dies before the index
        with pytest.raises(ZeroDivisionError):
            send_folder(sent)
    assert object_store.listed(address, "weights").keys() == {"a", "b"}
    there = on_another_machine(monkeypatch, tmp_path, address) / "weights"
    assert not fetch_folder(there)
    assert not there.exists()


def test_an_index_that_is_being_written_is_no_folder(address: str) -> None:
    send_folder(write(working_copy(address) / "exp4" / "weights", a="1"))
    object_store.put(address, "exp4/whole-weights.json.0a1b2c3d.partial", b"{")
    assert whole_folders(Place(address, "exp4")) == ["weights"]


def test_a_fetching_that_was_cut_goes_on_where_it_was(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_folder(write(working_copy(address) / "weights", a="1", b="2"))
    there = on_another_machine(monkeypatch, tmp_path, address) / "weights"
    object_store.remove(address, "weights/b")
    with pytest.raises(InputError, match="weights/b is gone from"):
        fetch_folder(there)
    assert not there.exists()
    object_store.put(address, "weights/a", b"9")  # would be seen if it were fetched again
    object_store.put(address, "weights/b", b"2")
    assert fetch_folder(there)
    assert (there / "a").read_text() == "1"


def test_a_copy_is_replaced_only_when_the_store_has_another(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(working_copy(address) / "weights", a="1")
    send_folder(first, key="one")
    assert fetch_folder(first, key="one")
    there = on_another_machine(monkeypatch, tmp_path, address) / "weights"
    assert fetch_folder(there)
    inode = os.stat(there / "a").st_ino
    assert fetch_folder(there)
    assert os.stat(there / "a").st_ino == inode
    send_folder(write(there, a="2"), key="two")
    assert not fetch_folder(first, key="one"), "made for something else"
    assert fetch_folder(first)
    assert (first / "a").read_text() == "2"


def test_an_index_of_another_version_is_refused(address: str) -> None:
    working_copy(address)
    object_store.put(address, "whole-weights.json", b'{"files": 3}')
    with pytest.raises(InputError, match=r"the index of s3://.*weights.* cannot be read"):
        fetch_folder(working_copy(address) / "weights")
