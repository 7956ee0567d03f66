"""Listen to the models of a search: `python -m analysis.behaviour exp4`.

The base model and the best finished trials answer held-out prompts, and their replies are measured: length,
attention to the prompt and its persona, repetition, leaked markers, language, whether they end. Figures and
replies are kept in `<storage>/exp4/behaviour.json`; the report shows them.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.behaviour_records import (
    BASE,
    Behaviour,
    Estimate,
    Exchange,
    Listened,
    read_listened,
    settings_of,
    write_listened,
)
from analysis.commands import add_storage, open_storage, prepare_environment
from analysis.rank import confirmed, standing
from analysis.records import SearchRecord
from analysis.runs import read_search
from analysis.weights import trial_weights, weights_key
from spaces.promotion import BehaviourConfig
from spaces.words import count_text, list_text, seconds_text
from train_fn.command import run_command
from train_fn.errors import InputError

if TYPE_CHECKING:
    from analysis.behaviour_figures import Model
    from analysis.held_out import HeldOut

SHOWN = 3
"""Exchanges that the terminal shows."""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = _parser().parse_args(argv)
    storage = open_storage(args.storage, [args.experiment])
    search = read_search(storage, args.experiment)
    settings = settings_of(search)
    models = models_of(search, settings.trials, args.trials)
    prepare_environment()
    measured = measure(search, storage, models, settings, print)
    from analysis.behaviour_table import print_behaviour
    from analysis.table import make_console

    print_behaviour(make_console(), search, Listened(settings, search.data_key, measured), SHOWN)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.behaviour",
        description="Let the base model and the best trials of a search answer held-out prompts, and measure "
        "what they say.",
    )
    parser.add_argument("experiment", help="name of a search, for example exp4")
    add_storage(parser)
    parser.add_argument(
        "--trials",
        type=int,
        nargs="+",
        metavar="N",
        help="numbers of trials; default: the best finished ones",
    )
    return parser


def models_of(
    search: SearchRecord, best: int, numbers: Sequence[int] | None = None
) -> tuple[tuple[str, str], ...]:
    """Return the models to listen to, each with where its weights lie: the base model, then trials.

    A base model of random weights says nothing and is left out.

    Args:
        search: The search.
        best: How many of the best finished trials are taken.
        numbers: Of the trials to take instead.

    Raises:
        InputError: There is no such trial, none has finished, or weights are gone.
    """
    order = standing(search.trials, confirmed(search.trials))
    finished = [trial for trial in order if trial.status == "finished"]
    chosen = finished[:best]
    if numbers is not None:
        known = {trial.number: trial for trial in search.trials}
        unknown = [number for number in numbers if number not in known]
        if unknown:
            there = list_text([str(trial.number) for trial in finished])
            raise InputError(f"{search.name} has no trial {unknown[0]}; its finished trials are {there}")
        chosen = [known[number] for number in dict.fromkeys(numbers)]
    if not chosen:
        state = f"it is {search.status} with {count_text(len(search.trials), 'trial')}"
        raise InputError(
            f"{search.name} has no finished trial to listen to ({state}); run `python -m search.run "
            f"{search.name}` until one has finished"
        )
    return (*base_model(search), *((trial.id, str(trial_weights(search, trial))) for trial in chosen))


def base_model(search: SearchRecord) -> tuple[tuple[str, str], ...]:
    """Return the base model's name and where it lies; nothing for random weights, which say nothing."""
    base = search.experiment["base"]["model"]
    return ((BASE, str(base["path"])),) if base["init"] == "pretrained" else ()


def measure(
    search: SearchRecord,
    storage: Path,
    models: Sequence[tuple[str, str]],
    settings: BehaviourConfig,
    say: Callable[[str], None],
) -> tuple[Behaviour, ...]:
    """Measure how models behave, and keep it in the search's folder.

    A model is measured again only when the settings, the data or its weights have changed.

    Args:
        search: The search.
        storage: The storage folder, which holds the prepared data.
        models: Name and folder (or Hub id) of each.
        settings: How they are listened to.
        say: Receives a line about each model.

    Raises:
        InputError: The data or a model cannot be read, or the file cannot be written.
    """
    listened = read_listened(search.folder)
    if listened is None or not listened.same_as(settings, search.data_key):
        listened = Listened(settings, search.data_key, ())
    held: HeldOut | None = None
    result = []
    for name, source in models:
        key, began = weights_key(source, _gguf_file(search, name)), time.monotonic()
        one = listened.model(name)
        if one is not None and one.weights_key == key:
            say(f"{name}: measured before")
        else:
            if held is None:
                from analysis.held_out import read_held_out

                held = read_held_out(search, storage, settings.seed)
            one = Behaviour(name, source, key, *_measured(search, name, source, held, settings))
            listened = listened.with_model(one)
            write_listened(search.folder, listened)  # at once: what is measured stays, whatever comes next
            say(f"{name}: measured in {seconds_text(time.monotonic() - began)}")
        result.append(one)
    return tuple(result)


def _measured(
    search: SearchRecord, name: str, source: str, held: "HeldOut", settings: BehaviourConfig
) -> tuple[dict[str, Estimate | None], tuple[Exchange, ...]]:
    """Load one model and return its figures and exchanges; it is gone from memory when this returns."""
    from analysis import behaviour_figures as figures
    from analysis.speech import speech_rules

    model, special = _model(source, _gguf_file(search, name), settings)
    rules = speech_rules(search)
    rules = replace(rules, markers=(*rules.markers, *special))
    prompts = figures.listening_prompts(held, settings.prompts, settings.seed)
    exchanges, ended = figures.converse(model, prompts)
    conversations = [pair.conversation for pair in prompts]
    found = figures.likelihood_figures(model, held, settings.seed)
    found |= figures.speech_figures(exchanges, ended, conversations, rules, settings.seed)
    return found, exchanges


def _gguf_file(search: SearchRecord, name: str) -> str:
    """Return the GGUF file of a model; trials are written as safetensors whatever they began from."""
    return str(search.experiment["base"]["model"]["gguf_file"]) if name == BASE else ""


def _model(source: str, gguf_file: str, settings: BehaviourConfig) -> "tuple[Model, tuple[str, ...]]":
    """Return what is asked of a model, and the special tokens that no reply should show."""
    import numpy as np

    from analysis import plain_model
    from analysis.behaviour_figures import Model

    plain = plain_model.load_plain(source, gguf_file=gguf_file)
    tokenizer = plain.tokenizer
    model = Model(
        nll=lambda pairs: plain_model.response_nll(plain, pairs),
        answer=lambda prompts, sampled: plain_model.answer(plain, prompts, settings, sampled),
        encode=lambda text: np.array(tokenizer(text, add_special_tokens=False).input_ids, np.int32),
        decode=lambda ids: str(tokenizer.decode(ids)),
    )
    return model, tuple(tokenizer.all_special_tokens)


if __name__ == "__main__":
    run_command(main)
