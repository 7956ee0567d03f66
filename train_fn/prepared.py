"""Tokenised examples on disk as `train_fn.prepare` left them, memory-mapped: nothing is cleaned again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from train_fn.data_report import DataReport, read_report


@dataclass(frozen=True)
class Split:
    """Examples of one side, memory-mapped from an Arrow file."""

    folder: Path
    name: str

    @cached_property
    def _table(self) -> Any:
        return pa.ipc.open_file(pa.memory_map(str(self.folder / f"{self.name}.arrow"))).read_all()

    def _column(self, name: str) -> npt.NDArray[Any]:
        table = self._table
        return table[name].chunk(0).to_numpy() if len(table) else np.zeros(0, np.int64)  # type: ignore[no-any-return]

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        return self._table["ids"].chunk(0).offsets.to_numpy() if len(self) else np.zeros(1, np.int64)  # type: ignore[no-any-return]

    @cached_property
    def _values(self) -> npt.NDArray[np.int32]:
        return self._table["ids"].chunk(0).values.to_numpy()  # type: ignore[no-any-return]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each example, prompt and answer with its end token; int32 [n]."""
        return np.diff(self._offsets).astype(np.int32)

    @cached_property
    def prompt_lengths(self) -> npt.NDArray[np.int32]:
        """Tokens before each answer; int32 [n]."""
        return self._column("prompt_length").astype(np.int32)

    @cached_property
    def sources(self) -> npt.NDArray[np.int16]:
        """Index of each example's source in `data.sources`; int16 [n]."""
        return self._column("source").astype(np.int16)

    @cached_property
    def conversations(self) -> npt.NDArray[np.int32]:
        """A number for the conversation of each example; int32 [n]. In data from before each has its own."""
        if "conversation" not in self._table.column_names:
            return np.arange(len(self), dtype=np.int32)
        return self._column("conversation").astype(np.int32)

    @cached_property
    def ids(self) -> Sequence[str]:
        """Where each example stood, such as `train.jsonl:12#3`."""
        return self._table["id"].to_pylist()  # type: ignore[no-any-return]

    def tokens(self, index: int) -> npt.NDArray[np.int32]:
        """Return the token ids of an example without copying; int32 [length]."""
        return self._values[self._offsets[index] : self._offsets[index + 1]]

    def __len__(self) -> int:
        return len(self._table)


@dataclass(frozen=True)
class Prepared:
    """A data set, ready to train on."""

    folder: Path

    @property
    def key(self) -> str:
        """The data hash: content of the sources, tokenizer, rules, format and split."""
        return self.folder.name

    @cached_property
    def train(self) -> Split:
        """Examples to train on."""
        return Split(self.folder, "train")

    @cached_property
    def eval(self) -> Split:
        """The fixed held-out examples."""
        return Split(self.folder, "eval")

    @cached_property
    def report(self) -> DataReport:
        """What became of every row."""
        return read_report(self.folder / "report.json")


def open_prepared(folder: Path) -> Prepared:
    """Open prepared data; neither tokenizer nor sources are needed."""
    return Prepared(folder)
