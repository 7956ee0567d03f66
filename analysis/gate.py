"""The gate: what a model must show before it is promoted, each with its measured figure and its bound.

The bounds are those of the experiment (`spaces.promotion.PromotionConfig`). An NLL is in nats per answer
token.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.behaviour_records import Estimate
from analysis.records import SearchRecord, TrialRecord
from spaces.promotion import PromotionConfig
from spaces.words import count_text, lead_side
from train_fn.data_report import DataReport
from train_fn.lead import Lead, paired_lead
from train_fn.report import Evaluation

RULES_OFF: Mapping[str, object] = {
    "languages": [],
    "max_repeat": 0,
    "markers": [],
    "exact_duplicates": False,
    "near_duplicates": False,
    "unbalanced": False,
}
"""Cleaning rules that stand for clean data, and the value that switches each off."""


@dataclass(frozen=True)
class Check:
    """One thing asked of the candidate."""

    what: str
    measured: str
    bound: str
    passed: bool | None
    """None when it cannot be asked; `measured` then says why."""
    setting: str = ""
    """What the bound is set by, `promotion.nll_tolerance=0.02`; empty where no setting changes it."""


def passed(checks: Sequence[Check]) -> bool:
    """Return whether nothing that was asked failed."""
    return all(check.passed is not False for check in checks)


def nll_checks(
    search: SearchRecord, trial: TrialRecord, sent: Evaluation, rules: PromotionConfig
) -> list[Check]:
    """Ask whether the files do what the trial did, and better than the base model.

    Args:
        search: The search.
        trial: The candidate.
        sent: Evaluation of the files to be sent, read by plain `transformers`.
        rules: The bounds.
    """
    assert trial.last_eval is not None, "a finished trial was evaluated at its end"
    trained, asked = trial.last_eval.evaluation.nll, rules.nll_tolerance
    gap = abs(sent.nll - trained)
    agrees = Check(
        "files give the trial's eval NLL",
        f"{sent.nll:.4f} after {trained:.4f} in training",
        f"within {asked:g}",
        gap <= asked,
        _of(rules, "nll_tolerance"),
    )
    what = "eval NLL below the base model"
    if search.base is None:
        return [agrees, Check(what, "the base model was not measured", _clearly(rules), False)]
    return [agrees, _lead_check(what, paired_lead(sent, search.base), rules)]


def branch_check(sent: Evaluation, held: Evaluation | str, where: str, rules: PromotionConfig) -> Check:
    """Ask whether the candidate is better than what the branch holds.

    Args:
        sent: Evaluation of the files to be sent.
        held: Evaluation of the branch's model on the same examples, or why there is nothing to compare with.
        where: `org/name@dev`.
        rules: The bounds.
    """
    what = f"eval NLL below {where}"
    if isinstance(held, str):
        return Check(what, held, _clearly(rules), None)
    return _lead_check(what, paired_lead(sent, held), rules)


def seeds_check(search: SearchRecord, repeats: Sequence[TrialRecord], rules: PromotionConfig) -> Check:
    """Ask whether runs with other seeds came out below the base model as well.

    Args:
        search: The search.
        repeats: Runs of the candidate's configuration with other seeds, however they ended.
        rules: The bounds.
    """
    asked = rules.confirming_seeds
    what, bound = "confirmed by other seeds", f"{count_text(asked, 'seed')} below the base model"
    if asked == 0:
        return Check(what, "not asked (promotion.confirming_seeds = 0)", bound, None)
    ends = [t.last_eval.evaluation for t in repeats if t.status == "finished" and t.last_eval is not None]
    below = [
        one for one in ends if search.base is not None and is_clear(paired_lead(one, search.base), rules)
    ]
    lost = len(repeats) - len(ends)
    told = f"{len(below)} of {len(repeats)} below" if repeats else "no run with another seed"
    told += f" ({', '.join(f'{one.nll:.4f}' for one in ends)})" if ends else ""
    told += f", {lost} not finished" if lost else ""
    return Check(what, told, bound, len(below) >= asked, _of(rules, "confirming_seeds"))


def behaviour_checks(figures: Mapping[str, Estimate | None], rules: PromotionConfig) -> list[Check]:
    """Ask whether the model behaves, by the figures of its replies."""
    return [
        _within("reply length over the references'", figures["length_ratio"], rules, "min_length_ratio",
                "max_length_ratio"),
        _attentive(figures["attentiveness"], rules),
        _adherent("keeps to its persona", figures["persona_adherence_plain"], rules),
        _adherent("keeps to a W++ persona", figures["persona_adherence_wpp"], rules),
        _within("repeats itself", figures["repetition"], rules, most="max_repetition"),
        _within("leaks markers or the next turn", figures["leaked"], rules, most="max_leaked"),
        _within("unbalanced * or quotes", figures["unbalanced"], rules, most="max_unbalanced"),
        _within("drifts into another language", figures["language_drift"], rules, most="max_language_drift"),
        _within("reaches the end token", figures["ended"], rules, "min_ended"),
        _within("train less eval NLL", figures["train_minus_eval"], rules, "min_train_minus_eval"),
    ]  # fmt: skip


def data_checks(search: SearchRecord, rules: PromotionConfig) -> list[Check]:
    """Ask whether the data was clean enough to believe the figures."""
    data = search.data_report
    if data is None:
        return [Check("data report is clean", "there is no data report", "a data report", False)]
    clean: Mapping[str, object] = search.experiment["base"]["data"]["clean"]
    off = [name for name, value in RULES_OFF.items() if clean[name] == value]
    return [
        Check("cleaning rules", f"off: {', '.join(off)}" if off else "all on", "all on", not off),
        _broken_check(data, rules),
        Check(
            "replies kept by the cleaning rules",
            f"{data.kept / max(1, data.read):.1%} of {data.read:,}",
            f"at least {rules.min_kept_share:.0%}",
            data.kept >= rules.min_kept_share * data.read,
            _of(rules, "min_kept_share"),
        ),
        Check(
            "held-out examples",
            f"{data.eval:,}",
            f"at least {rules.min_eval_examples:,}",
            data.eval >= rules.min_eval_examples,
            _of(rules, "min_eval_examples"),
        ),
    ]


def is_clear(lead: Lead, rules: PromotionConfig) -> bool:
    """Return whether a lead exceeds the noise by as much as the gate asks."""
    return lead.nll > 0 and lead.nll >= rules.min_lead_stderrs * lead.stderr


def _lead_check(what: str, lead: Lead, rules: PromotionConfig) -> Check:
    measured = f"{abs(lead.nll):.4f} ± {lead.stderr:.4f} {lead_side(lead)}"
    return Check(what, measured, _clearly(rules), is_clear(lead, rules), _of(rules, "min_lead_stderrs"))


def _clearly(rules: PromotionConfig) -> str:
    return f"below by {rules.min_lead_stderrs:g} standard errors"


def _broken_check(data: DataReport, rules: PromotionConfig) -> Check:
    broken, most = data.dropped.get("broken line", 0), rules.max_broken_lines
    bound = f"at most {most:,}" if most else "none"
    return Check(
        "lines that could not be read", f"{broken:,}", bound, broken <= most, _of(rules, "max_broken_lines")
    )


def _attentive(figure: Estimate | None, rules: PromotionConfig) -> Check:
    what, least = "listens to the prompt", rules.min_attentiveness
    bound = f"interval above {least:g}"
    if figure is None:
        return _not_asked(what, bound)
    return Check(what, _text(figure), bound, figure.low > least, _of(rules, "min_attentiveness"))


def _adherent(what: str, figure: Estimate | None, rules: PromotionConfig) -> Check:
    """Ask whether nothing speaks against it: few prompts have a persona, and their mean is mostly noise."""
    least = rules.min_persona_adherence
    bound = f"interval not below {least:g}"
    if figure is None:
        return _not_asked(what, bound)
    return Check(what, _text(figure), bound, figure.high >= least, _of(rules, "min_persona_adherence"))


def _within(
    what: str, figure: Estimate | None, rules: PromotionConfig, least: str = "", most: str = ""
) -> Check:
    """Ask whether a mean lies within its bounds, given by the names of their settings."""
    low = getattr(rules, least) if least else -math.inf
    high = getattr(rules, most) if most else math.inf
    bounds = [f"at least {low:g}" if least else "", f"at most {high:g}" if most else ""]
    bound = ", ".join(text for text in bounds if text)
    if figure is None:
        return _not_asked(what, bound)
    missed = most if figure.value > high else least
    return Check(what, _text(figure), bound, low <= figure.value <= high, _of(rules, missed or most))


def _of(rules: PromotionConfig, name: str) -> str:
    """Write a setting as `--set` takes it."""
    return f"promotion.{name}={getattr(rules, name)}"


def _not_asked(what: str, bound: str) -> Check:
    return Check(what, "the held-out prompts cannot show it", bound, None)


def _text(figure: Estimate) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
