import os
from pathlib import Path

import pytest

from search.storage import check_storage, make_storage
from train_fn.errors import InputError


def test_a_folder_is_looked_at_and_made(tmp_path: Path) -> None:
    storage = tmp_path / "not" / "there"
    check_storage(storage)
    assert not (tmp_path / "not").exists()
    for _ in range(2):
        make_storage(storage)
        check_storage(storage)


@pytest.mark.parametrize("name", ["file", "file/below", "file/far/below"])
def test_a_look_refuses_in_the_same_words_as_the_making(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    told = []
    for ask in (check_storage, make_storage):
        with pytest.raises(InputError, match=r"cannot be made \(.*\); name another folder") as refused:
            ask(tmp_path / name)
        told.append(str(refused.value))
    assert told[0] == told[1]


def test_a_link_to_a_folder_that_is_gone_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "unmounted").symlink_to(tmp_path / "gone")
    for ask in (check_storage, make_storage):
        with pytest.raises(InputError, match="cannot be made"):
            ask(tmp_path / "unmounted")


def test_a_folder_that_nobody_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="Permission denied"):
        check_storage(tmp_path / "runs")
