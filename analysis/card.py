"""The model card of a promotion, `README.md`: what the model is, what it showed, where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis import card_figure
from analysis.answer import tell, tell_other
from analysis.behaviour_records import Behaviour
from analysis.gate import Check
from analysis.hub import Target
from analysis.rank import answer
from analysis.records import SearchRecord, TrialRecord
from spaces.promotion import BehaviourConfig
from spaces.words import count_text
from train_fn.address import bare
from train_fn.data_report import summary_line
from train_fn.model_files import is_hub_id
from train_fn.report import Evaluation

NAME = "README.md"


@dataclass(frozen=True)
class Card:
    """What a card is written from."""

    search: SearchRecord
    trial: TrialRecord
    where: Target | None
    """None for an export."""
    sent: Evaluation
    """Of the files as sent."""
    checks: tuple[Check, ...]
    behaviours: tuple[Behaviour, ...]
    sampling: BehaviourConfig
    adapter: bool
    mlflow_run: str | None
    previous: str | None


def write_card(card: Card, folder: Path, now: float) -> None:
    """Write the card and its picture into the folder that is sent.

    No path of this machine stands in it: local sources and models are named by their last part.

    Args:
        card: What it says.
        folder: Of the model files.
        now: Seconds since the epoch, for the age of a search that has not ended.
    """
    card_figure.write_figure(card.search, card.trial, folder)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = cell
    text = environment.get_template("card.md").render(card=_values(card, now))
    (folder / NAME).write_text(text, encoding="utf-8")


def cell(value: object) -> str:
    """Write a value into one cell of a Markdown table."""
    return " ".join(str(value).replace("|", "\\|").split())


def nameable(path: str) -> str:
    """Return a model or source as others may read it: no password, and of a local path the last part."""
    is_address = ":" in path.partition("/")[0]
    return bare(path) if is_address or is_hub_id(path) else Path(path).name


def _values(card: Card, now: float) -> Mapping[str, Any]:
    search, trial = card.search, card.trial
    model, data = trial.config["model"]["path"], search.data_report
    found = answer(search)
    told = tell(search, found, now)
    is_best = found.best is None or found.best.number == trial.number
    verdict, cautions = (told.verdict, told.cautions) if is_best else tell_other(search, found, trial, now)
    return {
        "trial": trial,
        "is_best": is_best,
        "arguments": _arguments(card.where),
        "description": search.experiment["description"],
        "trials": count_text(len(search.tried), "trial"),
        "sent": card.sent,
        "base_nll": None if search.base is None else search.base.nll,
        "verdict": verdict,
        "figure": card_figure.NAME,
        "adapter": card.adapter,
        "base": nameable(model),
        "base_on_hub": is_hub_id(model),
        "prompt_format": trial.config["data"]["prompt_format"],
        "checks": card.checks,
        "behaviour": _behaviour_rows(card.behaviours),
        "behaviour_names": [one.model for one in card.behaviours],
        "prompts": max((len(one.exchanges) for one in card.behaviours), default=0),
        "sampling": card.sampling,
        "config": _config_rows(trial.config),
        "cost": f"The whole search took {told.cost}",
        "data_line": "" if data is None else f"{summary_line(data).removeprefix('data: ')}.",
        "data_key": search.data_key,
        "data_counts": [] if data is None else [
            ("to train on", data.train), ("held out", data.eval),
            *((f"dropped: {reason}", count) for reason, count in data.dropped.items()),
        ],
        "experiment": search.name,
        "profile": search.profile,
        "mlflow_run": card.mlflow_run,
        "git_commit": search.git_commit,
        "previous": card.previous,
        "cautions": cautions,
    }  # fmt: skip


def _arguments(where: Target | None) -> str:
    """Return what `from_pretrained` is called with."""
    return '"path/of/this/folder"' if where is None else f'"{where.repo}", revision="{where.branch}"'


def _behaviour_rows(behaviours: Sequence[Behaviour]) -> list[tuple[str, list[str]]]:
    names = list(dict.fromkeys(name for one in behaviours for name in one.figures))
    rows = []
    for name in names:
        figures = [one.figures[name] for one in behaviours]
        values = ["–" if f is None else f"{f.value:.3f} ({f.low:.3f} to {f.high:.3f})" for f in figures]
        rows.append((name.replace("_", " "), values))
    return rows


def _config_rows(config: Mapping[str, Any]) -> list[tuple[str, object]]:
    """List what a reader needs to train it again, without what is only about watching the run."""
    rows: list[tuple[str, object]] = []
    for group in ("model", "data", "optim", "engine", "run"):
        for name, value in config[group].items():
            if isinstance(value, Mapping):
                rows += [(f"{group}.{name}.{inner}", one) for inner, one in value.items()]
            elif f"{group}.{name}" == "data.sources":
                rows.append(("data.sources", ", ".join(nameable(source) for source in value)))
            elif f"{group}.{name}" == "model.path":
                rows.append(("model.path", nameable(value)))
            else:
                rows.append((f"{group}.{name}", value))
    return rows
