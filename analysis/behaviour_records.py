"""How models behave, as frozen values, and the file that keeps them: `<storage>/<name>/behaviour.json`."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from analysis.records import SearchRecord
from spaces.promotion import BehaviourConfig
from train_fn.errors import InputError
from train_fn.typed import from_plain, load_json
from train_fn.working_copy import send_file

FILE_NAME = "behaviour.json"
VERSION = 2
"""Counts up when the same settings give other figures; what older versions measured is measured again."""
BASE, FINAL = "base", "final"
FIGURES = (
    "eval_nll",
    "train_minus_eval",
    "attentiveness",
    "persona_adherence_plain",
    "persona_adherence_wpp",
    "length_ratio",
    "reply_words",
    "repetition",
    "leaked",
    "unbalanced",
    "language_drift",
    "ended",
)
"""What every model has, measured or None; `behaviour_figures` says how."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float
    n: int
    """Prompts it was judged on."""


@dataclass(frozen=True)
class Exchange:
    """A held-out prompt and what followed."""

    id: str
    """Where the example stood, such as `train.jsonl:12#3`."""
    prompt: str
    reference: str
    """The true reply."""
    sampled: str
    greedy: str


@dataclass(frozen=True)
class Behaviour:
    """How one model behaves."""

    model: str
    """`base`, a trial's id such as `exp4-0007`, or `final`."""
    source: str
    """Folder or Hub id."""
    weights_key: str
    """Changes when the weights may have changed."""
    figures: Mapping[str, Estimate | None]
    """One for each of `FIGURES`; None where the data cannot show it."""
    exchanges: tuple[Exchange, ...]
    """The prompts that were answered, the same for all models."""


@dataclass(frozen=True)
class Listened:
    """All models of a search that were measured with the same settings on the same data."""

    settings: BehaviourConfig
    data_key: str
    models: tuple[Behaviour, ...]

    def same_as(self, settings: BehaviourConfig, data_key: str) -> bool:
        """Tell whether models measured now compare with these; how many are measured does not matter."""
        mine, theirs = replace(self.settings, trials=1), replace(settings, trials=1)
        return mine == theirs and self.data_key == data_key

    def model(self, name: str) -> Behaviour | None:
        """Return the model of that name, None if it was not measured."""
        return next((one for one in self.models if one.model == name), None)

    def with_model(self, new: Behaviour) -> "Listened":
        """Return these models and a new one, which replaces the one of its name."""
        others = [one for one in self.models if one.model != new.model]
        order = {BASE: 0, FINAL: 2}
        models = sorted([*others, new], key=lambda one: (order.get(one.model, 1), one.model))
        return replace(self, models=tuple(models))


def settings_of(search: SearchRecord) -> BehaviourConfig:
    """Return how models of a search are listened to; an old ledger that does not say has the defaults."""
    experiment = search.experiment
    return BehaviourConfig(**experiment["behaviour"]) if "behaviour" in experiment else BehaviourConfig()


def read_listened(folder: Path) -> Listened | None:
    """Read what was measured of a search.

    Args:
        folder: The search's folder.

    Returns:
        None when nothing was measured yet, or by another version.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / FILE_NAME
    try:
        plain = load_json(path.read_text(encoding="utf-8"))
        if not isinstance(plain, dict):
            raise ValueError("no object")
        if plain.pop("version", None) != VERSION:
            return None
        listened = from_plain(Listened, plain)
        for model in listened.models:
            if missing := [name for name in FIGURES if name not in model.figures]:
                raise ValueError(f"{model.model} lacks {missing[0]}")
        return listened
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}); remove it, and measure the models again"
        ) from error


def write_listened(folder: Path, listened: Listened) -> None:
    """Write what was measured; a reader finds the old file or the whole new one.

    Raises:
        InputError: The file cannot be written, or the store does not take it.
    """
    path = folder / FILE_NAME
    partial = path.with_name(f"{FILE_NAME}.{os.getpid()}.partial")
    try:
        text = json.dumps({"version": VERSION, **asdict(listened)}, ensure_ascii=False, indent=1)
        partial.write_text(text + "\n", encoding="utf-8", errors="replace")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}; make room there") from error
    send_file(path)
