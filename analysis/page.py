"""Compose the page: one HTML file that holds everything and loads nothing."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis import canvas, draw
from analysis.answer import Told, tell
from analysis.behaviour_records import Listened
from analysis.behaviour_view import BehaviourView, command, view
from analysis.compare import Comparison, Row, objectives
from analysis.curves import Curves, again_text, curves, group_of
from analysis.figures import (
    EvalLine,
    Ladder,
    LrBatchMap,
    kept_for_noise,
    ladder,
    lr_batch_map,
)
from analysis.importance import Importances, importances
from analysis.rank import Answer
from analysis.records import SearchRecord
from analysis.table import table_order
from analysis.timing import Timing, timing
from analysis.weights import weights_place
from spaces.words import count_text, lead_side, params_text, seconds_text, short, tokens_text, value_text
from train_fn.data_report import summary_line
from train_fn.times import PARTS, added

HERE = Path(__file__).parent
SPENDING = (
    ("start-up", "#e0a030"),
    ("training", "#2f80d0"),
    ("evaluation", "#0a9a6e"),
    ("other", "#b065ac"),
    ("idle", "#868e9a"),
)
PART_COLOURS = (
    "#e0a030", "#c9c04a", "#5fb6d9", "#2f80d0", "#1f5aa6",
    "#6a5acd", "#0a9a6e", "#d9705f", "#b065ac", "#868e9a",
)  # fmt: skip
"""Of `train_fn.times.PARTS`, in their order."""


@dataclass(frozen=True)
class Content:
    """Everything the page shows, computed."""

    search: SearchRecord
    found: Answer
    told: Told
    curves: Curves
    map: LrBatchMap | None
    importances: Importances
    ladder: Ladder
    timing: Timing
    objectives: tuple[Row, ...]
    comparison: Comparison | None
    behaviour: BehaviourView | None


def compute(
    search: SearchRecord,
    found: Answer,
    comparison: Comparison | None,
    now: float,
    listened: Listened | None = None,
) -> Content:
    """Compute what the page shows.

    Args:
        search: The search.
        found: What `rank.answer` decided.
        comparison: With other searches, if any were named.
        now: Seconds since the epoch.
        listened: How its models behave, if that was measured.
    """
    return Content(
        search=search,
        found=found,
        told=tell(search, found, now),
        curves=curves(search, found.best),
        map=lr_batch_map(search, found.best),
        importances=importances(search),
        ladder=ladder(search, found.best),
        timing=timing(search),
        objectives=objectives(search),
        comparison=comparison,
        behaviour=view(search, listened) if listened is not None and listened.models else None,
    )


def render(content: Content, now: float) -> str:
    """Return the page as HTML. Texts of data and trials are escaped."""
    drawn = canvas.embed(_figures(content))
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals.update(
        count_text=count_text, params_text=params_text, seconds_text=seconds_text, short=short,
        tokens_text=tokens_text, value_text=value_text, lead_side=lead_side, kept_for_noise=kept_for_noise,
        again_text=again_text,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        **_values(content),
        css=Markup((HERE / "page.css").read_text()),
        js=Markup((HERE / "page.js").read_text()),
        library=Markup(drawn.library),
        script=Markup(drawn.script),
        places={name: Markup(place) for name, place in drawn.places.items()},
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)),
    )


def write_page(path: Path, text: str) -> None:
    """Write the page; a reader finds the old one or the whole new one."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(path)
    except OSError:
        with suppress(OSError):  # the first error is the one to tell
            partial.unlink()
        raise


def _figures(content: Content) -> dict[str, Any]:
    most = content.search.max_tokens
    figures: dict[str, Any] = {}
    if content.comparison is not None:
        lines = _compared(content.comparison)
        if lines:
            figures["comparison"] = draw.draw_comparison(lines)
    if content.curves.lines:
        figures["curves"] = draw.draw_curves(content.curves, most)
    if content.map is not None:
        figures["map"] = draw.draw_map(content.map)
    if content.ladder.lines:
        figures["ladder"] = draw.draw_ladder(content.ladder, most)
    if content.timing.blocks:
        figures["timeline"] = draw.draw_timeline(content.timing)
    return figures


def _compared(comparison: Comparison) -> list[EvalLine]:
    bests = [row.best for row in comparison.rows if row.best is not None and row.best.evals]
    return [
        EvalLine(
            best,
            "best",
            tuple(one.tokens_seen for one in best.evals),
            tuple(one.evaluation.nll for one in best.evals),
            tuple(one.evaluation.stderr for one in best.evals),
        )
        for best in bests
    ]


def _values(content: Content) -> dict[str, Any]:
    search, best = content.search, content.found.best
    kinds = [(kind, name, kind not in canvas.HIDDEN) for kind, name in canvas.KINDS.items()]
    kinds += (
        [("spike", f"{count_text(len(content.curves.spikes), 'spike')}", True)]
        if content.curves.spikes
        else []
    )
    kinds += [("overflow", "overflows", True)] if content.curves.overflows else []
    groups = {line.group for line in content.curves.lines}
    eval_groups = {line.group for line in content.ladder.lines}
    lines = _compared(content.comparison) if content.comparison is not None else []
    return {
        "search": search,
        "found": content.found,
        "told": content.told,
        "curves": content.curves,
        "importances": content.importances,
        "ladder": content.ladder,
        "timing": content.timing,
        "objectives": content.objectives,
        "comparison": content.comparison,
        "behaviour": content.behaviour,
        "behaviour_command": command(search, "behaviour"),
        "sections": _sections(content),
        "series": [(line.trial.id, canvas.SERIES[i % len(canvas.SERIES)]) for i, line in enumerate(lines)],
        "best_config": flatten(best.config) if best is not None else [],
        "best_weights": weights_place(search, best) if best is not None else None,
        "kinds": kinds,
        "groups": [group for group in canvas.COLOURS if group in groups],
        "eval_groups": [group for group in canvas.COLOURS if group in eval_groups],
        "eval_kinds": canvas.EVAL_KINDS,
        "colours": canvas.COLOURS,
        "brackets": len({rung.bracket for rung in content.ladder.rungs}),
        "paths": sorted(search.experiment["space"]),
        "trials": [(trial, group_of(trial, best)) for trial in table_order(search.trials)],
        "spending": SPENDING,
        "lanes": _lanes(content.timing),
        "parts": list(zip(PARTS, PART_COLOURS, strict=True)),
        "trial_times": _trial_times(search),
        **_data(search),
    }


def _sections(content: Content) -> list[tuple[str, str]]:
    return [
        ("answer", "Answer"),
        *([("compared", "Compared")] if content.comparison is not None else []),
        *([("curves", "Curves")] if content.curves.lines else []),
        ("map", "Map"),
        ("importance", "What mattered"),
        ("rungs", "Rungs"),
        ("trials", "Trials"),
        ("behaviour", "Behaviour"),
        *([("objectives", "Objectives")] if content.objectives else []),
        ("time", "Time"),
        ("data", "Data"),
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """List nested values by dotted path."""
    flat: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat += flatten(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


def _lanes(timing: Timing) -> list[tuple[str, Sequence[float]]]:
    lanes: list[tuple[str, Sequence[float]]] = [
        (f"slot {lane + 1}", astuple(spent)) for lane, spent in enumerate(timing.lanes)
    ]
    return [("all slots", astuple(timing.total)), *lanes] if len(lanes) > 1 else lanes


def _trial_times(search: SearchRecord) -> list[tuple[str, Sequence[float]]]:
    """List what each trial spent its time on, by part, and all of them together."""
    known = [(trial.id, trial.times) for trial in table_order(search.trials) if trial.times is not None]
    rows = [("all trials", added(times for _, times in known)), *known] if len(known) > 1 else known
    return [(name, astuple(times)) for name, times in rows]


def _data(search: SearchRecord) -> dict[str, Any]:
    data = search.data_report
    if data is None:
        return {"data": None, "data_line": "", "data_counts": []}
    counts = [("kept for training", data.train), ("held out", data.eval)]
    counts += [(f"dropped: {reason}", number) for reason, number in data.dropped.items()]
    return {"data": data, "data_line": summary_line(data), "data_counts": counts}
