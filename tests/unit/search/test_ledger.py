import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.events import (
    BaselineMeasured,
    Decided,
    Ended,
    Event,
    Paused,
    Reported,
    Resumed,
    Retried,
    SearchEnded,
    SearchStarted,
    TrialStarted,
    WeightsRemoved,
)
from search.halving import Decision
from search.ledger import Ledger, decode, encode, read_events, read_from
from tests.unit.search.recorded import report, search_started, small_search, trial_started
from train_fn.errors import InputError
from train_fn.report import Evaluation, Outcome, Point, Report
from train_fn.times import PARTS, Times
from train_fn.typed import LARGEST_FIGURE

number = st.floats(-LARGEST_FIGURE, LARGEST_FIGURE)
count = st.integers(0, 10**12)
words = st.text(max_size=20)
maybe = st.none() | number
values = st.dictionaries(words, words | number | st.booleans() | count, max_size=3)
evaluations = st.builds(
    Evaluation,
    number,
    number,
    st.lists(number, max_size=3).map(tuple),
    st.lists(count, max_size=3).map(tuple),
    number,
)
times = st.builds(Times, *(number for _ in PARTS))
reports = st.builds(
    Report,
    trial=count, tokens_seen=count, steps=count, window_steps=count, loss=number,
    points=st.lists(st.builds(Point, count, number, number, number), max_size=3).map(tuple),
    lr=number, grad_norm=number, loss_scale=number, overflow_steps=count, window_overflow_rate=number,
    spikes=count, trend=words, tokens_per_s=number, train_s=number, start_overhead_s=number,
    eval=st.none() | evaluations, times=st.none() | times,
)  # fmt: skip
statuses = st.sampled_from(["finished", "halved", "diverged", "overflowing", "failed", "cancelled"])
decisions = st.builds(
    Decision, count, count, count, count, count, number, maybe, maybe, maybe, count, st.booleans(), words
)
outcomes = st.builds(
    Outcome,
    count,
    statuses,
    words,
    count,
    count,
    count,
    maybe,
    maybe,
    number,
    number,
    st.none() | words,
    st.booleans(),
    st.none() | times,
)
events = st.one_of(
    st.builds(SearchStarted, number, values, words, words, words),
    st.builds(BaselineMeasured, number, evaluations),
    st.builds(TrialStarted, number, count, count, values, values, st.none() | count, st.none() | count),
    st.builds(Retried, number, count, words, words, count, st.none() | count),
    st.builds(Reported, number, reports),
    st.builds(Decided, number, decisions),
    st.builds(Ended, number, outcomes),
    st.builds(WeightsRemoved, number, count),
    st.builds(Paused, number, number, number),
    st.builds(Resumed, number, number),
    st.builds(SearchEnded, number, words, number),
)


@given(events)
def test_an_event_survives_its_line_to_the_last_digit(event: Event) -> None:
    line = encode(event)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert decode(line) == event


def test_a_start_from_before_trials_were_confirmed_is_still_read() -> None:
    started = trial_started(1001.0, 3)
    values = json.loads(encode(started))
    del values["confirms"]
    assert decode(json.dumps(values)) == started


def test_an_end_from_before_failures_could_be_final_is_still_read() -> None:
    (ended,) = [event for event in small_search() if isinstance(event, Ended)][:1]
    assert decode(encode(ended).replace(',"final":false', "")) == ended


def test_a_retry_from_before_it_named_the_step_that_is_left_out_is_still_read() -> None:
    again = Retried(1002.0, 3, "unknown", "tried again", 8)
    assert decode(encode(again).replace(',"skipped_place":null', "")) == again


def test_figures_from_before_trials_measured_their_time_are_still_read() -> None:
    for event in small_search():
        line = encode(event)
        assert ('"times":null' in line) == isinstance(event, Ended | Reported)
        assert decode(line.replace(',"times":null', "")) == event


@settings(deadline=None)  # waits for the disk
@given(st.lists(events, max_size=4), st.data())
def test_a_torn_line_never_happened(
    tmp_path_factory: pytest.TempPathFactory, some: list[Event], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "events.jsonl"
    lines = [encode(event).encode() for event in some]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = [event for i, event in enumerate(some) if len(b"".join(lines[: i + 1])) <= cut]
    assert list(read_events(path)) == kept  # a reader ignores it
    extra = search_started()
    ledger = Ledger(path)  # a writer cuts it
    ledger.append(extra)
    ledger.close()
    assert list(read_events(path)) == [*kept, extra]


def test_a_torn_line_longer_than_a_block_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = encode(search_started()).encode()
    path.write_bytes(line + b"x" * 200_000)
    Ledger(path).close()
    assert path.read_bytes() == line


def test_reading_goes_on_from_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    ledger = Ledger(path)
    some = small_search()
    for event in some[:3]:
        ledger.append(event)
    offset = list(read_from(path, 0))[-1][1]
    for event in some[3:]:
        ledger.append(event)
    ledger.close()
    assert [event for event, _ in read_from(path, offset)] == some[3:]
    assert list(read_events(tmp_path / "missing.jsonl")) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"kind":"Hurray","time":1}', "unknown kind 'Hurray'"),
        ('{"time":1}', "unknown kind None"),
        ("torn in the middle", "Expecting value"),
        ('{"kind":"SearchEnded","time":1,"status":"finished"}', "wall_s"),
    ],
)
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(encode(search_started()) + line + "\n")
    with pytest.raises(InputError, match="no event at byte") as error:
        list(read_events(path))
    assert told in str(error.value)
    assert str(path) in str(error.value)


def test_a_full_disk_is_one_line_and_leaves_whole_lines(tmp_path: Path) -> None:
    # A file size limit stops a write in the middle of a line, as a full disk does.
    path = tmp_path / "events.jsonl"
    code = f"""
import resource, signal
from pathlib import Path
from search.ledger import Ledger
from tests.unit.search.recorded import search_started, small_search
from train_fn.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = Ledger(Path({str(path)!r}))
ledger.append(search_started())
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    for event in small_search():
        ledger.append(event)
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    assert "make room" in done.stdout
    assert path.read_bytes().endswith(b"\n")
    assert next(iter(read_events(path))) == search_started()


def test_a_ledger_is_plain_compact_json(tmp_path: Path) -> None:
    line = encode(Reported(1.5, report(7, 1000, 3.25)))
    values = json.loads(line)
    assert (values["kind"], values["time"]) == ("Reported", 1.5)
    assert values["report"]["eval"]["nll"] == 3.25
    assert values["report"]["points"][0] == [500, 3.0, 2.9, 2.8]
    assert ": " not in line


def test_a_figure_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode(SearchEnded(1.0, "finished", float("nan")))
