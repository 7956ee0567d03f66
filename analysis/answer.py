"""The answer of a search in sentences: for the terminal and the page alike."""

from dataclasses import dataclass

from analysis.rank import Answer, trial_lead
from analysis.records import SearchRecord, TrialRecord
from spaces.words import (
    SEEDS_FAILED,
    confirmation_lines,
    count_text,
    lead_text,
    list_text,
    seconds_text,
    tokens_text,
)
from train_fn.lead import Lead


@dataclass(frozen=True)
class Told:
    """The answer in sentences, by what they are about."""

    headline: str
    verdict: str
    """Lead over the second, and whether it exceeds noise; empty without a best trial."""
    seeds: str
    """What other training seeds said; empty without a best trial."""
    over_base: str
    cost: str
    saved: str
    cautions: tuple[str, ...]
    """What to keep in mind before believing it."""


def tell(search: SearchRecord, found: Answer, now: float) -> Told:
    """Say what a search found.

    Args:
        search: The search.
        found: What `rank.answer` decided.
        now: Seconds since the epoch, for the age of a search that has not ended.
    """
    return Told(
        headline=_headline(found),
        verdict=_verdict(found),
        seeds=_seeds(search, found),
        over_base=_over_base(search, found),
        cost=_cost(found),
        saved=_saved(search, found),
        cautions=tuple(_cautions(search, found, now)),
    )


def tell_other(
    search: SearchRecord, found: Answer, other: TrialRecord, now: float
) -> tuple[str, tuple[str, ...]]:
    """Say of a trial that is not the best one how it stands against it, and what to keep in mind.

    Args:
        search: The search.
        found: What `rank.answer` decided, with a best trial.
        other: Another trial.
        now: Seconds since the epoch, for the age of a search that has not ended.
    """
    assert found.best is not None, "without a best trial there is no other"
    lead, who = trial_lead(other, found.best), f"the best, {found.best.id}"
    caution = f"It is not the trial that the search found the best: that is {found.best.id}."
    return _lead_over(found, lead, other, who), (*_unfinished(search, now), caution)


def _headline(found: Answer) -> str:
    best = found.best
    if best is None or best.eval_nll is None:
        return (
            "No trial can be called the best: none was evaluated without diverging, overflowing or failing."
        )
    error = "" if best.eval_nll_stderr is None else f" ± {best.eval_nll_stderr:.4f}"
    after = f"after {tokens_text(best.eval_tokens)} tokens"
    return f"{best.id} is the best: eval NLL {best.eval_nll:.4f}{error} {after}"


def _verdict(found: Answer) -> str:
    if found.best is None:
        return ""
    second = found.second
    if second is None:
        return "No other trial qualifies for a comparison."
    who = f"the second, {second.id}"
    if second.status != "finished":
        who += f" ({second.status} after {tokens_text(second.tokens_seen)} tokens)"
    return _lead_over(found, found.over_second, second, who)


def _lead_over(found: Answer, lead: Lead | None, other: TrialRecord, who: str) -> str:
    """Say what the lead of one of the best and another trial is, whose place other seeds may decide."""
    if lead is None:
        return f"Not known: {who} was never evaluated after as many tokens."
    told = f"{lead_text(lead, who)}."
    if found.confirmation is not None and found.confirmation.of(other.number) is not None:
        told += " That is one run of each; between the two their other seeds decide."
    return told


def _seeds(search: SearchRecord, found: Answer) -> str:
    if found.best is None:
        return ""
    if found.confirmation is not None:
        lines = confirmation_lines(found.confirmation, search.name)
        return f"{'. '.join(line[0].upper() + line[1:] for line in lines)}."
    again = {trial.status for trial in search.repeats if trial.confirms == found.best.number}
    if again == {"failed"} and search.status == "finished":
        return f"{SEEDS_FAILED.capitalize()}."
    if search.repeats:
        return f"No other seed of {found.best.id} has ended yet."
    return "Not confirmed: no other training seed was tried."


def _over_base(search: SearchRecord, found: Answer) -> str:
    if search.base is None:
        return "The base model was not measured."
    base = f"the base model at {search.base.nll:.4f}"
    return (
        f"{lead_text(found.over_base, base)}."
        if found.over_base is not None
        else f"Nothing to compare with {base}."
    )


def _cost(found: Answer) -> str:
    cost = found.cost
    gpus = f", {cost.gpu_h:.2f} GPU-hours" if cost.gpu_h else ""
    return (
        f"{tokens_text(cost.tokens)} tokens in {seconds_text(cost.wall_s)} on the clock; "
        f"slots were busy for {seconds_text(cost.slot_s)}{gpus}."
    )


def _saved(search: SearchRecord, found: Answer) -> str:
    saved = found.saved
    if not saved.tokens:
        return "No trial was stopped early, so nothing was saved."
    halved = len(search.halved)
    doomed = sum(trial.doomed for trial in search.trials)
    parts = []
    if halved:
        parts.append(f"{tokens_text(saved.by_halving)} by halving {count_text(halved, 'trial')}")
    if doomed:
        parts.append(f"{tokens_text(saved.by_doom)} by ending {count_text(doomed, 'doomed trial')}")
    share = saved.tokens / (saved.tokens + found.cost.tokens)
    return (
        f"{tokens_text(saved.tokens)} tokens ({share:.0%}), about {seconds_text(saved.slot_s)} of a slot: "
        f"{list_text(parts)}."
    )


def _cautions(search: SearchRecord, found: Answer, now: float) -> list[str]:
    told = _unfinished(search, now)
    best = found.best
    if best is None:
        return told
    if best.status != "finished":
        told.append(
            f"No trial has finished. The best one is {best.status} after {tokens_text(best.tokens_seen)} of "
            f"{tokens_text(search.max_tokens)} tokens and was judged after {tokens_text(best.eval_tokens)}, "
            "others after fewer or more."
        )
    if found.level:
        names = list_text([trial.id for trial in found.level])
        told.append(f"Cannot be told from the best within noise: {names}.")
    examples = len(best.last_eval.evaluation.example_nll) if best.last_eval else 0
    others = dict(found.counts).get("finished", 0) or len(search.tried)
    seeds = found.confirmation.of(best.number) if found.confirmation is not None else None
    if seeds is None:
        told.append(
            f"The noise counted is that of {examples} held-out examples. "
            f"Another training seed, and picking the best of {others}, add to it."
        )
    else:
        told.append(
            f"The noise counted is that of {examples} held-out examples and of {len(seeds.nlls)} training "
            f"seeds. The first of these runs was picked for being among the best of {others}, so the mean is "
            "a little low."
        )
    return told


def _unfinished(search: SearchRecord, now: float) -> list[str]:
    """Say that more may come, where it may."""
    if search.status == "running":
        age = seconds_text(max(0.0, now - search.last_time))
        return [f"The search has not ended: its last event is {age} old. What follows may change."]
    if search.status != "finished":
        tried = f"{len(search.tried)} of {search.planned_trials} trials"
        return [f"The search was {search.status} after {tried}."]
    return []
