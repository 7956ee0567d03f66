import os
from pathlib import Path

import pytest

from train_fn.disk import share_weights


def test_weights_get_the_mode_of_the_files_beside_them(tmp_path: Path) -> None:
    weights = tmp_path / "adapter" / "model.safetensors"
    weights.parent.mkdir()
    for file in (tmp_path / "config.json", weights):
        file.touch()
    weights.chmod(0o600)
    (tmp_path / "config.json").chmod(0o640)
    share_weights(tmp_path)
    assert weights.stat().st_mode & 0o777 == 0o640


def test_a_file_system_without_modes_loses_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")

    def refuse(path: object, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    share_weights(tmp_path)  # without a config.json too
    (tmp_path / "config.json").touch()
    share_weights(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
