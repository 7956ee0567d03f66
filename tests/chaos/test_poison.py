"""An example on which training fails every time: the trial goes round it."""

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from search.events import Reported, Retried
from search.ledger import read_events
from tests.chaos.test_driver_killed import start
from tests.integration.commands import REPOSITORY, command, run
from train_fn.batches import Order
from train_fn.prepared import Prepared, open_prepared

BATCH, PLACE = 8, 72
NO_TOKEN = 1_000_000


def prepared_by_a_command(storage: Path, *settings: str) -> Prepared:
    looks = command(storage, *settings, module="search.data")
    subprocess.run(looks, cwd=REPOSITORY, capture_output=True, check=True, timeout=120)
    (report,) = storage.glob("data/*/report.json")
    return open_prepared(report.parent)


def damage(prepared: Prepared, example: int, token: int = NO_TOKEN) -> None:
    """Put a token into an example, by itself one that no model knows: looking its embedding up raises."""
    path = prepared.folder / "train.arrow"
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    rows = table["ids"].to_pylist()
    rows[example][-2] = token
    field = table.schema.field("ids")
    table = table.set_column(table.schema.get_field_index("ids"), field, pa.array(rows, field.type))
    with pa.ipc.new_file(str(path.with_suffix(".new")), table.schema) as file:
        file.write_table(table.combine_chunks())
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_example_that_fails_twice_is_left_out_and_named(
    ranks: int, own_dialogues: Path, tmp_path: Path
) -> None:
    data = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false")
    prepared = prepared_by_a_command(tmp_path, *data)
    order = Order(prepared.train.sources, (), 0)
    step = order.take(PLACE, BATCH)
    damage(prepared, int(step[3]))
    slot = ("resources.slots=1", f"resources.ranks_per_slot={ranks}", "budget.trials=1")
    summary = run(tmp_path, *data, *slot, "run.max_tokens=5000")
    (trial,) = summary["trials"]
    assert trial["status"] == "finished"
    assert trial["skipped_examples"] == BATCH
    assert [retry["cause"] for retry in trial["retries"]] == ["unknown", "unknown"]
    assert all("IndexError" in retry["told"] for retry in trial["retries"])
    assert f"its {BATCH} examples are left out" in trial["retries"][1]["told"]
    folder = tmp_path / "exp4" / "trials" / "0000"
    named = [json.loads(line) for line in (folder / "skipped_examples.jsonl").read_text().splitlines()]
    assert named == [{"id": prepared.train.ids[i], "window": PLACE} for i in step]
    assert (folder / "error.log").read_text().count("IndexError: ") == 2
    past = list(read_events(tmp_path / "exp4" / "events.jsonl"))
    assert sum(isinstance(event, Retried) for event in past) == 2
    seen = [event.report.tokens_seen for event in past if isinstance(event, Reported)]
    assert seen == sorted(seen)
    assert set(Counter(seen).values()) == {1}
    trained = np.setdiff1d(order.take(0, len(prepared.train)), step)
    assert trial["tokens_seen"] < int(prepared.train.lengths[trained].sum()), "within the first epoch"


def test_what_was_left_out_just_before_the_command_was_killed_is_found_again_and_counted_once(
    own_dialogues: Path, tmp_path: Path
) -> None:
    settings = (
        f"data.sources={own_dialogues}", "data.clean.near_duplicates=false", "resources.slots=1",
        "budget.trials=1", "run.max_tokens=5000",
    )  # fmt: skip
    prepared = prepared_by_a_command(tmp_path, *settings[:2])
    damage(prepared, int(Order(prepared.train.sources, (), 0).take(PLACE, BATCH)[3]))
    process = start(tmp_path, *settings, killed_at=("retried", 2))
    assert process.wait(240) == -signal.SIGKILL
    (trial,) = run(tmp_path, *settings)["trials"]
    assert trial["status"] == "finished"
    assert ["left out" in retry["told"] for retry in trial["retries"]] == [False, True, False, True]
    assert trial["skipped_examples"] == BATCH
