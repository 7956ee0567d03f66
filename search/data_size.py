"""How large the data is, without tokenising it."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train_fn.config import DataConfig
from train_fn.data_report import read_report

_SAMPLED_LINES = 1000
_BYTES_PER_TOKEN = 4.0
"""English text under a vocabulary of some ten thousand tokens."""


@dataclass(frozen=True)
class DataSize:
    """What a plan needs to know of the data."""

    mean_example_tokens: float | None
    train_examples: int | None
    eval_examples: int | None
    origin: Literal["prepared", "earlier", "lines", "unknown"]
    """Counted on this very data, on earlier data of these sources, guessed from their lines, or unknown."""

    @property
    def counted(self) -> bool:
        """Whether somebody tokenised data and counted."""
        return self.origin in ("prepared", "earlier")

    @property
    def words(self) -> str:
        """Say where the figures come from."""
        exact = "`python -m search.data` prepares the data and counts"
        return {
            "prepared": "counted on the prepared data",
            "earlier": "counted when these sources were last prepared",
            "lines": f"guessed from the first lines at {_BYTES_PER_TOKEN:g} bytes per token; {exact}",
            "unknown": f"the longest allowed, so there are more steps than this; {exact}",
        }[self.origin]


def local_path(source: str) -> Path | None:
    """Return the file a source names on this machine, None for bundled, Hub and remote ones."""
    if source.startswith("file://"):
        return Path(source.removeprefix("file://"))
    if source.startswith(("hub:", "bundled:")) or "://" in source:
        return None
    return Path(source).expanduser()


def guess_data_size(config: DataConfig, storage: Path) -> DataSize:
    """Return what is known of the data without tokenising it.

    Args:
        config: Names the sources.
        storage: The storage folder, where data may have been prepared before.
    """
    return _earlier(config, storage) or _from_lines(config)


def _earlier(config: DataConfig, storage: Path) -> DataSize | None:
    """Read the newest report of data prepared from the same sources."""
    files = sorted(
        (storage / "data").glob("*/report.json"), key=lambda file: file.stat().st_mtime, reverse=True
    )
    reports = (read_report(file) for file in files)
    same = next((report for report in reports if report.sources == config.sources and report.train), None)
    if same is None:
        return None
    return DataSize(same.train_tokens / same.train, same.train, same.eval, "earlier")


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
