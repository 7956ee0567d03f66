import json
from dataclasses import replace
from pathlib import Path

from search.data import prepared_data
from search.data_size import guess_data_size
from train_fn.config import DataConfig, ModelConfig, TrainConfig
from train_fn.sources import local_path
from train_fn.tokenizer import train_tokenizer


def test_data_is_known_that_was_prepared_with_these_settings(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} " * n, "generation": f"so that is the number {n}"} for n in range(2, 40)]
    file = tmp_path / "chat.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def config(longest: int) -> TrainConfig:
        data = DataConfig(sources=(str(file),), max_example_tokens=longest, prompt_format="plain")
        return TrainConfig(data=data)

    report = prepared_data(config(64), tmp_path).report
    size = guess_data_size(config(64), tmp_path)
    assert (size.train_examples, size.eval_examples) == (report.train, report.eval)
    assert size.mean_example_tokens == report.train_tokens / report.train
    assert size.counted
    longer = guess_data_size(config(256), tmp_path)
    assert (longer.origin, longer.train_examples) == ("lines", None), "others are kept under other settings"
    more = replace(config(64), model=ModelConfig(path=save_tokenizer_of_another(tmp_path / "model")))
    assert not guess_data_size(more, tmp_path).counted, "another tokenizer counts otherwise"
    file.write_text(file.read_text() + json.dumps(rows[0]) + "\n")
    assert not guess_data_size(config(64), tmp_path).counted, "the content has changed"


def save_tokenizer_of_another(folder: Path) -> str:
    train_tokenizer(["some words and numbers 1 2 3"] * 3, 300, folder)
    return str(folder)


def test_lines_of_a_local_file_are_a_guess(tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    rows = [{"prompt": "x" * n, "generation": "y"} for n in (40, 80, 4_000)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataConfig(sources=(str(file),), max_example_tokens=128)
    size = guess_data_size(TrainConfig(data=data), tmp_path)
    lengths = [len(line) / 4 for line in file.read_text().splitlines(keepends=True)]
    assert size.mean_example_tokens == sum(min(n, 128) for n in lengths) / 3
    assert not size.counted
    assert "guessed" in size.words


def test_what_cannot_be_read_at_once_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    for source in (
        "hub:owner/name",
        "bundled:chitchat",
        "s3://bucket/x.jsonl",
        str(tmp_path / "empty.jsonl"),
    ):
        config = TrainConfig(data=DataConfig(sources=(source,)))
        assert guess_data_size(config, tmp_path).mean_example_tokens is None


def test_only_local_addresses_have_a_path() -> None:
    assert local_path("file:///data/x.jsonl") == Path("/data/x.jsonl")
    assert local_path("data/x.jsonl") == Path("data/x.jsonl")
    assert local_path("~/x.jsonl") == Path.home() / "x.jsonl"
    assert local_path("https://example.org/x.jsonl") is None
    assert local_path("hub:owner/name") is None
