import json
from pathlib import Path

from search.data_size import guess_data_size, local_path
from train_fn.config import DataConfig
from train_fn.data_report import DataReport, write_report


def report(sources: tuple[str, ...], train: int, train_tokens: int) -> DataReport:
    return DataReport(
        read=train + 7,
        train=train,
        eval=7,
        dropped={},
        shown={},
        train_tokens=train_tokens,
        eval_tokens=70,
        eval_answer_tokens=30,
        sources=sources,
        conversations=3,
    )


def test_data_prepared_before_from_the_same_sources_is_known(tmp_path: Path) -> None:
    for name, sources in (("one", ("bundled:chitchat",)), ("two", ("other.jsonl",))):
        (tmp_path / "data" / name).mkdir(parents=True)
        write_report(report(sources, 100, 4_200), tmp_path / "data" / name / "report.json")
    size = guess_data_size(DataConfig(sources=("bundled:chitchat",)), tmp_path)
    assert (size.mean_example_tokens, size.train_examples, size.eval_examples) == (42.0, 100, 7)
    assert size.counted
    assert guess_data_size(DataConfig(sources=("bundled:chatterbot",)), tmp_path).origin == "unknown"


def test_lines_of_a_local_file_are_a_guess(tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    rows = [{"prompt": "x" * n, "generation": "y"} for n in (40, 80, 4_000)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    size = guess_data_size(DataConfig(sources=(str(file),), max_example_tokens=128), tmp_path)
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
        assert guess_data_size(DataConfig(sources=(source,)), tmp_path).mean_example_tokens is None


def test_only_local_addresses_have_a_path() -> None:
    assert local_path("file:///data/x.jsonl") == Path("/data/x.jsonl")
    assert local_path("data/x.jsonl") == Path("data/x.jsonl")
    assert local_path("~/x.jsonl") == Path.home() / "x.jsonl"
    assert local_path("https://example.org/x.jsonl") is None
    assert local_path("hub:owner/name") is None
