"""Hear the candidate before it is promoted: build its folder, read it back, measure it, ask the gate."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.behaviour_records import FINAL, Behaviour
from analysis.gate import Check, behaviour_checks, branch_check, data_checks, nll_checks, seeds_check
from analysis.held_out import Pair, read_held_out
from analysis.hub import Held
from analysis.mlflow_link import TrackingError, find_link
from analysis.promotion import PromotionRecord, cannot_write, weight_hashes, write_record
from analysis.records import SearchRecord, TrialRecord
from analysis.weights import trial_weights
from spaces.promotion import BehaviourConfig, PromotionConfig
from train_fn.errors import InputError
from train_fn.model_files import is_hub_id
from train_fn.report import Evaluation


@dataclass(frozen=True)
class Audition:
    """What the candidate showed."""

    package: Path
    """The folder that is sent."""
    sent: Evaluation
    checks: tuple[Check, ...]
    behaviours: tuple[Behaviour, ...]
    rules: PromotionConfig
    sampling: BehaviourConfig


def audition(
    search: SearchRecord,
    storage: Path,
    trial: TrialRecord,
    rules: PromotionConfig,
    sampling: BehaviourConfig,
    held: Held | None,
    say: Callable[[str], None],
) -> Audition:
    """Build the folder of a trial and ask the gate.

    Args:
        search: The search.
        storage: The storage folder.
        trial: The candidate, finished.
        rules: The bounds.
        sampling: How the models are listened to.
        held: What the branch holds; None for an export.
        say: Told of each long step.

    Raises:
        InputError: Weights or data are gone, or a model cannot be read.
    """
    from analysis.behaviour import base_model, measure
    from analysis.package import adapter_base, write_package
    from analysis.plain_model import load_plain, response_nll

    weights = trial_weights(search, trial)
    if rules.adapter and held is not None and not is_hub_id(adapter_base(weights)):
        raise InputError(
            f"promotion.adapter = True, but its base model {adapter_base(weights)!r} is not on the Hub, so "
            "nobody else could load it; set promotion.adapter=false"
        )
    package = search.folder / "promotion" / trial.id
    say(f"writing {package}")
    write_package(weights, package, rules, sampling)
    pairs = read_held_out(search, storage).pairs
    plain = load_plain(str(package))
    sent = response_nll(plain, pairs)
    tokenizer = plain.tokenizer
    del plain  # two models at once are one too many for a GPU
    checks = nll_checks(search, trial, sent, rules)
    if held is not None:
        checks.append(_against_branch(held, package, sent, tokenizer, pairs, rules, say))
    repeats = [other for other in search.trials if other.confirms == trial.number]
    checks.append(seeds_check(search, repeats, rules))
    models = (*base_model(search), (FINAL, str(package)))
    behaviours = measure(search, storage, models, sampling, say)
    checks += behaviour_checks(behaviours[-1].figures, rules)
    checks += data_checks(search, rules)
    return Audition(package, sent, tuple(checks), behaviours, rules, sampling)


def finish(search: SearchRecord, trial: TrialRecord, result: Audition, held: Held | None) -> None:
    """Write the card and the record beside the model files: the folder is then what is sent.

    Raises:
        InputError: There is no room.
    """
    from analysis.card import Card, write_card

    previous = _previous(held, result.package)
    run = _run_of(search, trial)
    card = Card(
        search=search,
        trial=trial,
        where=held.target if held is not None else None,
        sent=result.sent,
        checks=result.checks,
        behaviours=result.behaviours,
        sampling=result.sampling,
        adapter=result.rules.adapter,
        mlflow_run=run,
        previous=previous,
    )
    record = PromotionRecord(
        trial=trial.id,
        eval_nll=result.sent.nll,
        base_eval_nll=None if search.base is None else search.base.nll,
        data_key=search.data_key,
        git_commit=search.git_commit,
        mlflow_run=run,
        weights=weight_hashes(result.package),
        previous=previous,
    )
    try:
        write_card(card, result.package, time.time())
        write_record(record, result.package)
    except OSError as error:
        raise cannot_write(result.package, error, "make room there and run the same command again") from error


def copy_out(package: Path, folder: Path) -> None:
    """Copy the folder elsewhere; it appears whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(package, partial)
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise cannot_write(folder, error, "make room there, or give --to another folder") from error


def _against_branch(
    held: Held,
    package: Path,
    sent: Evaluation,
    tokenizer: Any,
    pairs: Sequence[Pair],
    rules: PromotionConfig,
    say: Callable[[str], None],
) -> Check:
    from analysis.rival import evaluate_rival

    where = str(held.target)
    if held.holds(package):
        return branch_check(sent, "it holds these very weights", where, rules)
    if held.head is None or not held.has_model:
        return branch_check(sent, "it holds no model yet", where, rules)
    say(f"evaluating what {where} holds")
    rival = evaluate_rival(held.target, held.head, tokenizer, pairs)
    return branch_check(sent, rival, where, rules)


def _previous(held: Held | None, package: Path) -> str | None:
    """Return the commit of the promotion that this one follows; what is sent again follows what it did."""
    if held is None or held.record is None:
        return None
    return held.record.previous if held.holds(package) else held.head


def _run_of(search: SearchRecord, trial: TrialRecord) -> str | None:
    try:
        return find_link(search.folder, ()).runs.get(str(trial.number))
    except TrackingError:
        return None
