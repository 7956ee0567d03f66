"""An example that alone spoils the gradient of its step is left out, and the rest of the step is trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from search.events import Reported, Retried
from search.ledger import read_events
from tests.chaos.test_poison import damage, prepared_by_a_command
from tests.integration.commands import run
from tests.unit.search.sent import Sent
from train_fn.batches import Order
from train_fn.bundled_path import bundled_folder

BATCH, PLACE = 8, 72


def poisoned_model(folder: Path, token: int) -> Path:
    """Save the bundled model with an embedding that is not a number, and a head of its own that is sound."""
    model = AutoModelForCausalLM.from_pretrained(bundled_folder(), dtype=torch.float32)
    model.config.tie_word_embeddings = False
    embedding = model.get_input_embeddings().weight
    model.get_output_embeddings().weight = torch.nn.Parameter(embedding.detach().clone())
    with torch.no_grad():
        embedding[token] = float("nan")
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bundled_folder()).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_only_the_example_that_spoils_its_step_is_left_out_and_named(
    ranks: int, own_dialogues: Path, tmp_path: Path
) -> None:
    token = len(AutoTokenizer.from_pretrained(bundled_folder())) - 1
    model = poisoned_model(tmp_path / "model", token)
    data = (
        f"data.sources={own_dialogues}",
        "data.clean.near_duplicates=false",
        f"model.path={model}",
    )
    prepared = prepared_by_a_command(tmp_path, *data)
    assert not any(
        token in split.tokens(i) for split in (prepared.train, prepared.eval) for i in range(len(split))
    )
    order = Order(prepared.train.sources, (), 0)
    culprit = int(order.take(PLACE, BATCH)[3])
    damage(prepared, culprit, token)
    slot = ("resources.slots=1", f"resources.ranks_per_slot={ranks}", "budget.trials=1")
    summary = run(tmp_path, *data, *slot, "run.max_tokens=5000")
    (trial,) = summary["trials"]
    assert trial["status"] == "finished"
    assert trial["skipped_examples"] == 1
    assert trial["retries"] == []
    assert trial["overflow_steps"] == 0
    file = tmp_path / "exp4" / "trials" / "0000" / "skipped_examples.jsonl"
    named = [json.loads(line) for line in file.read_text().splitlines()]
    assert named == [{"id": prepared.train.ids[culprit], "window": PLACE}]
    tags = Sent(f"sqlite:///{tmp_path / 'mlflow.db'}", "exp4").run("exp4-0000").data.tags
    assert tags["skipped_examples"] == "1"
    past = list(read_events(tmp_path / "exp4" / "events.jsonl"))
    assert not any(isinstance(event, Retried) for event in past)
    told = [event.report.nonfinite_examples for event in past if isinstance(event, Reported)]
    assert set(told) == {0, 1}
    assert told == sorted(told)
    trained = order.take(0, trial["optimizer_steps"] * BATCH)
    trained = trained[~np.isin(trained, [culprit])]
    assert trial["tokens_seen"] == int(prepared.train.lengths[trained].sum()), "all others of the step count"
