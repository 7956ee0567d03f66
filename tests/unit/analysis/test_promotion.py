import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.promotion import (
    RECORD_NAME,
    PromotionRecord,
    git_blob_id,
    read_record,
    sha256_of,
    weight_hashes,
    write_record,
)

RECORD = PromotionRecord("exp4-0007", 4.1, 4.5, "data", "abc", None, {"model.safetensors": "ff"}, None)


def test_a_record_reads_back_and_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    write_record(RECORD, tmp_path)
    text = (tmp_path / RECORD_NAME).read_text()
    assert read_record(text) == RECORD
    write_record(replace(RECORD), tmp_path)
    assert (tmp_path / RECORD_NAME).read_text() == text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"trial": 1}', "3", '{"a": 1}'])
def test_anything_else_of_that_name_is_no_record(text: str) -> None:
    assert read_record(text) is None


def test_hashes_are_those_of_git_and_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights\n")
    (tmp_path / "config.json").write_text("{}")
    known = subprocess.run(["git", "hash-object", file], capture_output=True, text=True, check=True).stdout
    assert git_blob_id(file) == known.strip()
    assert sha256_of(file) == hashlib.sha256(b"weights\n").hexdigest()
    assert weight_hashes(tmp_path) == {"model.safetensors": sha256_of(file)}
