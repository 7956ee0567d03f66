"""The bundled base model: small, honest, and better than chance."""

import math
from pathlib import Path

import pytest

from search.data import prepared_data
from spaces.load import load_experiment
from train_fn.before import evaluate_base
from train_fn.bundled_path import bundled_folder
from train_fn.model import load_base
from train_fn.prepared import Prepared


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def laptop_data(storage: Path) -> Prepared:
    return prepared_data(load_experiment("exp4", "laptop").base, storage)


def test_fits_in_the_repository() -> None:
    assert sum(file.stat().st_size for file in bundled_folder().iterdir()) < 8 * 2**20
    assert 1.5e6 < load_base(load_experiment("exp4", "laptop").base.model).parameters < 2.5e6


def test_predicts_clearly_better_than_chance(laptop_data: Prepared, storage: Path) -> None:
    config = load_experiment("exp4", "laptop").base
    base = load_base(config.model)
    measured = evaluate_base(base, config, laptop_data, storage)
    chance = math.log(base.config.vocab_size)
    assert measured.nll < 0.6 * chance, f"{measured.nll} against {chance}"


def test_was_not_trained_on_what_the_laptop_holds_out(laptop_data: Prepared, storage: Path) -> None:
    pretraining = prepared_data(load_experiment("exp0", "laptop").base, storage)
    conversations = {example.rpartition("#")[0] for example in pretraining.train.ids}
    held_out = {example.rpartition("#")[0] for example in laptop_data.eval.ids}
    assert len(held_out) > 20
    assert not held_out & conversations


def test_data_report_accounts_for_every_reply_and_finds_the_dirt(laptop_data: Prepared) -> None:
    report = laptop_data.report
    assert report.read == report.train + report.eval + sum(report.dropped.values())
    assert report.dropped["language"] > 5000, "the non-English part of chatterbot-corpus"
    assert report.dropped["repetition"] > 100
    assert all(len(some) <= 20 for some in report.shown.values())
