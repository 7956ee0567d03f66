"""`python -m search.data exp4`: prepare the data and say what was kept and what dropped, and why."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from search.cli import Say, experiment_parser, prepare_environment, resolve
from train_fn.command import run_command
from train_fn.config import TrainConfig
from train_fn.data_report import MAX_SHOWN, report_lines
from train_fn.errors import InputError
from train_fn.prepare import data_key, prepare
from train_fn.prepared import Prepared
from train_fn.tokenizer import load_tokenizer, tokenizer_key
from train_fn.working_copy import fetch_folder, is_on_store, local_storage, place_of, send_folder


def prepared_data(config: TrainConfig, storage: Path, say: Say = lambda line: None) -> Prepared:
    """Return the data of a configuration, prepared in the storage folder when it is not there yet.

    Args:
        config: Its model gives the tokenizer, its data the rest.
        storage: The storage folder.
        say: Receives a line when there is something to wait for.

    Raises:
        InputError: The tokenizer or a source cannot be read, or nothing is left after cleaning.
    """
    model = config.model
    key = tokenizer_key(model.path, model.gguf_file)

    def load() -> Any:
        say("data: reading, cleaning and tokenising it once; later commands find it prepared")
        return load_tokenizer(model.path, model.gguf_file)

    cache = storage / "data"
    if place_of(storage / "data") is None:
        return prepare(config.data, load, key, cache)
    folder = cache / data_key(config.data, key, cache)
    if not folder.is_dir():
        fetch_folder(folder)
    prepared = prepare(config.data, load, key, cache)
    if not is_on_store(folder):
        send_folder(folder)
    return prepared


def main() -> int:
    """Parse the command line and print the report.

    Returns:
        The exit code, 0.
    """
    parser = experiment_parser(__doc__ or "")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.add_argument(
        "--examples",
        type=int,
        metavar="N",
        help=f"examples shown per reason, up to {MAX_SHOWN}; default: 3, and with --json all",
    )
    args = parser.parse_args()
    shown = _checked(args.examples)
    say: Say = (lambda line: None) if args.json else print
    experiment = resolve(args, say)
    prepare_environment()
    prepared = prepared_data(experiment.base, local_storage(args.storage), say)
    if args.json:
        some = {reason: examples[:shown] for reason, examples in prepared.report.shown.items()}
        print(json.dumps(asdict(replace(prepared.report, shown=some)), indent=1, ensure_ascii=False))
        return 0
    for line in report_lines(prepared.report, 3 if shown is None else shown):
        print(line)
    print(f"in {prepared.folder}")
    return 0


def _checked(examples: int | None) -> int | None:
    if examples is not None and not 0 <= examples <= MAX_SHOWN:
        raise InputError(f"--examples {examples} must be from 0 to {MAX_SHOWN}, as many as are kept; give 3")
    return examples


if __name__ == "__main__":
    run_command(main)
