"""How large the data is, without tokenising it."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train_fn.config import DataConfig, TrainConfig
from train_fn.data_report import DataReport, read_report
from train_fn.errors import InputError
from train_fn.prepare import data_key
from train_fn.sources import local_path
from train_fn.tokenizer import tokenizer_key

_SAMPLED_LINES = 1000
_BYTES_PER_TOKEN = 4.0
"""English text under a vocabulary of some ten thousand tokens."""


@dataclass(frozen=True)
class DataSize:
    """What a plan needs to know of the data."""

    mean_example_tokens: float | None
    train_examples: int | None
    eval_examples: int | None
    origin: Literal["prepared", "lines", "unknown"]
    """Counted on this very data, guessed from the lines of its sources, or unknown."""

    @property
    def counted(self) -> bool:
        """Whether somebody tokenised the data and counted."""
        return self.origin == "prepared"

    @property
    def words(self) -> str:
        """Say where the figures come from."""
        exact = "`python -m search.data` prepares the data and counts"
        return {
            "prepared": "counted on the prepared data",
            "lines": f"guessed from the first lines at {_BYTES_PER_TOKEN:g} bytes per token; {exact}",
            "unknown": f"the longest allowed, so there are more steps than this; {exact}",
        }[self.origin]


def counted_size(report: DataReport) -> DataSize:
    """Return what the report of prepared data counted."""
    return DataSize(report.train_tokens / report.train, report.train, report.eval, "prepared")


def guess_data_size(config: TrainConfig, storage: Path) -> DataSize:
    """Return what is known of the data without tokenising it.

    Args:
        config: Its data names the sources, its model the tokenizer.
        storage: The storage folder, where this very data may have been prepared before.
    """
    return _prepared(config, storage) or _from_lines(config.data)


def _prepared(config: TrainConfig, storage: Path) -> DataSize | None:
    """Read the report of this very data; prepared under other settings, the same sources count otherwise."""
    reports = {file.parent.name: read_report(file) for file in (storage / "data").glob("*/report.json")}
    if all(report.sources != config.data.sources for report in reports.values()):
        return None  # the key reads the sources, or asks for them: only where there may be something to find
    try:
        tokenizer = tokenizer_key(config.model.path, config.model.gguf_file, offline=True)
        report = reports.get(data_key(config.data, tokenizer, storage / "data"))
    except (InputError, OSError):  # told by who needs them
        return None
    return None if report is None else counted_size(report)


def _from_lines(config: DataConfig) -> DataSize:
    """Take the lines of local, uncompressed sources for examples."""
    lengths: list[float] = []
    for source in config.sources:
        path = local_path(source)
        if path is None or not path.is_file() or path.suffix == ".gz":
            return DataSize(None, None, None, "unknown")
        with path.open("rb") as file:
            lines = itertools.islice(file, _SAMPLED_LINES)
            lengths += [min(len(line) / _BYTES_PER_TOKEN, config.max_example_tokens) for line in lines]
    if not lengths:
        return DataSize(None, None, None, "unknown")
    return DataSize(sum(lengths) / len(lengths), None, None, "lines")
