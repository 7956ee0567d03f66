import json
from pathlib import Path

import pytest

from train_fn.bundled_path import bundled_folder
from train_fn.config import ModelConfig
from train_fn.errors import InputError
from train_fn.model_files import check_model_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in bundled_folder().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def refused(config: ModelConfig) -> str:
    with pytest.raises(InputError) as raised:
        check_model_files(config)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_sound_models_pass(folder: Path) -> None:
    check_model_files(ModelConfig())
    check_model_files(ModelConfig(path=str(folder)))
    check_model_files(ModelConfig(path="EleutherAI/gpt-j-6b"))


def test_missing_folder_and_missing_files(folder: Path) -> None:
    assert "is no folder" in refused(ModelConfig(path="/nowhere/at/all"))
    (folder / "model.safetensors").unlink()
    assert "has no weights" in refused(ModelConfig(path=str(folder)))
    check_model_files(ModelConfig(path=str(folder), init="random"))
    (folder / "config.json").unlink()
    assert "config.json" in refused(ModelConfig(path=str(folder), init="random"))


@pytest.mark.parametrize("kept", [0, 4, 1000, 100_000])
def test_weights_cut_short(folder: Path, kept: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert "model.safetensors is damaged" in refused(ModelConfig(path=str(folder)))


def test_a_shard_that_is_not_there(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002.safetensors" in refused(ModelConfig(path=str(folder)))


def test_gguf(folder: Path) -> None:
    assert "cannot be read" in refused(ModelConfig(path=str(folder), gguf_file="x.gguf"))
    (folder / "x.gguf").write_bytes(b"PK\x03\x04")
    assert "is no GGUF file" in refused(ModelConfig(path=str(folder), gguf_file="x.gguf"))
    (folder / "x.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    check_model_files(ModelConfig(path=str(folder), gguf_file="x.gguf"))
