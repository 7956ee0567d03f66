"""The picture of a model card: the training curve of the promoted trial among the others."""

from pathlib import Path

from matplotlib.figure import Figure

from analysis.curves import curves
from analysis.records import SearchRecord, TrialRecord

NAME = "curves.png"
_OTHERS, _RAW, _SMOOTH, _EVAL = "#c4cad2", "#9ec5ea", "#1f6fb8", "#c2410c"


def write_figure(search: SearchRecord, trial: TrialRecord, folder: Path) -> None:
    """Draw loss over tokens seen: raw thin, smoothed bold, held-out NLL as points, other trials grey.

    The file holds neither time nor version, so that the same curves are the same bytes.
    """
    drawn = curves(search, trial)
    figure = Figure(figsize=(9, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for line in drawn.lines:
        if line.trial.number != trial.number:
            axes.plot(line.tokens, line.ema_90, color=_OTHERS, linewidth=0.8, zorder=1)
    for line in drawn.lines:
        if line.trial.number == trial.number:
            axes.plot(line.tokens, line.raw, color=_RAW, linewidth=0.6, zorder=2, label="training loss")
            axes.plot(
                line.tokens, line.ema_90, color=_SMOOTH, linewidth=1.8, zorder=3, label="smoothed by 0.9"
            )
    axes.errorbar(
        [one.tokens_seen for one in trial.evals],
        [one.evaluation.nll for one in trial.evals],
        yerr=[one.evaluation.stderr for one in trial.evals],
        fmt="o", color=_EVAL, markersize=4, capsize=2, zorder=4, label="held-out NLL",
    )  # fmt: skip
    if search.base is not None:
        axes.axhline(search.base.nll, color=_EVAL, linewidth=0.8, linestyle="--", label="base model")
    axes.set(
        xlabel="tokens seen",
        ylabel="nats per token",
        title=trial.id,
        ylim=(drawn.frame.low, drawn.frame.high),
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    figure.savefig(folder / NAME, metadata={"Software": None})
