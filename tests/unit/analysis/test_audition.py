from pathlib import Path

import pytest

from analysis.audition import copy_out
from tests.full_disk import files_of_at_most
from train_fn.errors import InputError


def package(folder: Path) -> Path:
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(b"x" * 200_000)
    return folder


def test_what_a_killed_export_left_is_no_trouble(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "half.safetensors").touch()
    copy_out(package(tmp_path / "sent"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    assert not left.exists()


def test_a_full_disk_is_one_line_and_nothing_half_done_is_left(tmp_path: Path) -> None:
    sent, told = (
        package(tmp_path / "sent"),
        r"cannot write .*/out \(\[Errno 27\] File too large: .*'\); make room there",
    )
    with files_of_at_most(1_000), pytest.raises(InputError, match=told) as caught:
        copy_out(sent, tmp_path / "out")
    assert str(caught.value).count("Errno") == 1, "the first file is enough"
    assert [path.name for path in tmp_path.iterdir()] == ["sent"]


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*/file/out \((File exists|Not a directory)\)"):
        copy_out(package(tmp_path / "sent"), tmp_path / "file" / "out")
