"""Check a model's files before anything starts, without loading them and without torch."""

from pathlib import Path

from train_fn.bundled_path import bundled_folder
from train_fn.config import ModelConfig
from train_fn.errors import InputError
from train_fn.typed import from_plain, load_json

_GGUF_MAGIC = b"GGUF"


def is_hub_id(path: str) -> bool:
    """Return whether a model's path is an id on the Hub, `owner/name`, and no folder here."""
    return path.count("/") == 1 and not path.startswith((".", "/", "~")) and not Path(path).exists()


def check_model_files(config: ModelConfig) -> None:
    """Refuse a local model whose files are missing or cut short. A model on the Hub is not looked at.

    Raises:
        InputError: There is no such folder, or a file of it cannot be used.
    """
    folder = bundled_folder() if config.path == "bundled" else Path(config.path)
    if not folder.is_dir():
        if is_hub_id(config.path):
            return
        raise InputError(f"model.path = {config.path!r} is no folder; give a folder, a Hub id or 'bundled'")
    if config.gguf_file:
        _check_gguf(folder / config.gguf_file)
        return
    if not (folder / "config.json").is_file():
        raise InputError(
            f"model.path = {config.path!r} has no config.json; give the folder of a transformers model"
        )
    if config.init == "pretrained":
        _check_weights(folder, config.path)


def _check_weights(folder: Path, path: str) -> None:
    shards = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = _named_shards(index, path)
        missing = sorted(named - {shard.name for shard in shards})
        if missing:
            raise InputError(
                f"model.path = {path!r} lacks {missing[0]}, which its index names; copy the whole folder"
            )
    if not shards and not list(folder.glob("*.bin")):
        raise InputError(f"model.path = {path!r} has no weights (*.safetensors); or --set model.init=random")
    from safetensors import SafetensorError, safe_open

    for shard in shards:
        try:
            with safe_open(shard, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"model.path = {path!r}: {shard.name} is damaged ({error}); copy it again"
            ) from error


def _named_shards(index: Path, path: str) -> set[str]:
    try:
        found = from_plain(dict[str, str], load_json(index.read_bytes())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"model.path = {path!r}: {index.name} cannot be read ({error}); copy the whole folder"
        ) from error
    return set(found.values())


def _check_gguf(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise InputError(
            f"model.gguf_file = {file.name!r} cannot be read ({error.strerror}); check the name"
        ) from error
    if magic != _GGUF_MAGIC:
        raise InputError(
            f"model.gguf_file = {file.name!r} is no GGUF file (it starts with {magic!r}); check the name"
        )
