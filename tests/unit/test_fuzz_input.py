"""Bad input of every kind ends in one clear line or in a correct value, never in anything else."""

import json
import string
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.behaviour_records import FIGURES, VERSION, read_listened
from analysis.mlflow_link import TrackingError, find_link
from analysis.promotion import PromotionRecord, read_record
from analysis.runs import read_search
from search.cursor import CURSOR_NAME, Cursor, load_cursor
from search.events import SearchStarted
from search.halving import with_rungs
from search.ledger import encode, read_events
from search.lock import read_owner
from search.model_shape import shape_of
from search.restored import decisions_of
from search.state import replay
from search.summary import summarise
from spaces.describe import describe
from spaces.load import load_experiment
from spaces.override import override
from spaces.paths import leaves
from spaces.promotion import BehaviourConfig
from spaces.space import check_space
from tests.unit.broken import anything, damaged, numbers, rubbish
from tests.unit.search.recorded import experiment, small_search
from train_fn.config import DataConfig, ModelConfig
from train_fn.data_report import DataReport, read_report
from train_fn.errors import InputError
from train_fn.formats import Conversation, examples
from train_fn.model_files import check_model_files
from train_fn.sources import Broken
from train_fn.sources import read as read_rows

LAPTOP = load_experiment("exp4", "laptop")
PATHS = [path for path, _ in leaves(LAPTOP.base)] + [
    path
    for group in (
        "budget",
        "halving",
        "sampler",
        "confirm",
        "resources",
        "tracking",
        "behaviour",
        "promotion",
    )
    for path, _ in leaves(getattr(LAPTOP, group), f"{group}.")
]
many = settings(
    max_examples=400, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
some = settings(many, max_examples=200)


def clear(read: Callable[[], Any]) -> Any:
    """Return what a reader returns, or None where it refuses in one line."""
    try:
        return read()
    except InputError as error:
        said = str(error)
        assert len(said) > 20, said
        assert "\n" not in said, said
        assert len(said) < 1500, said
        return None


ODD = ("inf", "-inf", "nan", "1e999", "1e-999", "-0", "0x10", "١٢", "1_0", "9" * 5000, ",", "1,,2", "none")
values = st.text(max_size=12) | numbers.map(str) | st.sampled_from(ODD)
letters = st.sampled_from(string.ascii_letters + ". _")
near = st.builds(
    lambda path, cut, letter: path[:cut] + letter + path[cut:],
    st.sampled_from(PATHS), st.integers(0, 20), letters,
)  # fmt: skip
overrides = (
    st.builds("{}={}".format, st.sampled_from(PATHS), values)
    | st.builds("{}={}".format, near, values)
    | st.text(max_size=20)
)


@many
@given(st.lists(overrides, min_size=1, max_size=3))
def test_a_setting_is_refused_or_makes_an_experiment_that_can_be_written_down(texts: list[str]) -> None:
    def read() -> None:
        changed = with_rungs(override(LAPTOP, texts))
        check_space(changed)
        encode(SearchStarted(0.0, describe(changed), changed.profile, "", ""))

    clear(read)


ROWS = [
    {"prompt": "Hi", "generation": "Hello"},
    {"input": "Hi", "output": "Hello", "reward": 1},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "char": "A"},
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
]


@many
@given(st.lists(rubbish | st.sampled_from(ROWS).flatmap(damaged), min_size=1, max_size=3), st.booleans())
def test_a_line_of_data_is_refused_with_its_place_or_makes_examples(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], skip: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    file.write_bytes(b"\n".join(lines))
    config = DataConfig(sources=(str(file),), skip_broken_lines=skip)
    for row in clear(lambda: list(read_rows(config))) or []:
        assert row is None or isinstance(row, Broken | Conversation)
        if isinstance(row, Conversation):
            for example in examples(row, "pygmalion", 2):
                assert isinstance(example.prompt, str)


EVENTS = [json.loads(encode(event)) for event in small_search()]


@st.composite
def ledgers(draw: st.DrawFn) -> bytes:
    lines = [json.dumps(event).encode() for event in EVENTS]
    at = draw(st.integers(0, len(lines) - 1))
    match draw(st.integers(0, 3)):
        case 0:
            lines[at] = draw(rubbish).replace(b"\n", b" ")
        case 1:
            del lines[at]
        case 2:
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        case _:
            lines[at] = draw(damaged(EVENTS[at]))
    return b"\n".join(lines) + b"\n"


@many
@given(ledgers())
def test_a_ledger_is_refused_or_tells_of_a_search(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz" / "exp9"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_bytes(content)
    past = clear(lambda: list(read_events(folder / "events.jsonl")))
    if past is not None and (state := clear(lambda: replay(past))) is not None:
        clear(lambda: list(decisions_of(past)))
        json.dumps(summarise(state, experiment(), folder, {}), allow_nan=False)
    clear(lambda: read_search(folder.parent, "exp9"))


CURSOR = {"uri": "sqlite:///x", "search_id": "s", "offset": 3, "runs": {"parent": "p", "0": "r"}}


@some
@given(rubbish | damaged(CURSOR))
def test_a_cursor_is_whole_or_as_good_as_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / CURSOR_NAME
    path.write_bytes(content)
    cursor = load_cursor(path, "sqlite:///x")
    assert isinstance(cursor, Cursor)
    assert isinstance(cursor.offset, int)
    assert all(isinstance(run, str) for run in cursor.runs.values())
    with pytest.raises(TrackingError):  # no such database, or no run of the search
        find_link(path.parent, ["sqlite:///x"])


ESTIMATE = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 8}
MODEL = {
    "model": "base", "source": "bundled", "weights_key": "k", "figures": dict.fromkeys(FIGURES, ESTIMATE),
    "exchanges": [{"id": "a", "prompt": "p", "reference": "r", "sampled": "s", "greedy": "g"}],
}  # fmt: skip
BEHAVIOUR = json.loads(
    json.dumps(
        {"version": VERSION, "settings": asdict(BehaviourConfig()), "data_key": "d", "models": [MODEL]}
    )
)


@some
@given(rubbish | damaged(BEHAVIOUR))
def test_what_was_listened_to_is_refused_or_whole(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "behaviour.json").write_bytes(content)
    listened = clear(lambda: read_listened(folder))
    if listened is not None:
        for model in listened.models:
            assert isinstance(model.model, str)
            assert set(FIGURES) <= set(model.figures)
            assert all(one is None or one.low + one.high < 1e400 for one in model.figures.values())


RECORD = asdict(PromotionRecord("exp4-0001", 2.5, None, "d", "c", None, {"model.safetensors": "0a"}, None))


@some
@given(rubbish | damaged(RECORD))
def test_a_promotion_record_is_none_or_whole(content: bytes) -> None:
    record = read_record(content.decode(errors="replace"))
    if record is not None:
        assert all(isinstance(value, str) for value in record.weights.values())
        assert isinstance(record.eval_nll, int | float)


@some
@given(rubbish | damaged(asdict(DataReport(3, 1, 1, {"empty": 1}, {"empty": ()}, 9, 9, 9, ("a",), 2))))
def test_a_data_report_is_refused_or_adds_up(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "report.json"
    path.write_bytes(content)
    report = clear(lambda: read_report(path))
    if report is not None:
        assert report.read == report.train + report.eval + sum(report.dropped.values())


LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 100,
    "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": None, "tie_word_embeddings": False,
}  # fmt: skip


@some
@given(damaged(LLAMA) | rubbish)
def test_a_folder_of_weights_is_refused_or_has_a_size(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    from search.model_config import read_config

    folder = tmp_path_factory.getbasetemp() / "weights"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(content)
    (folder / "model.safetensors.index.json").write_bytes(content)
    config = ModelConfig(path=str(folder))
    clear(lambda: check_model_files(config))
    raw = clear(lambda: read_config(config))
    shape = None if raw is None else clear(lambda: shape_of(raw, config.path))
    if shape is not None:
        assert shape.parameters > 0
        assert shape.trainable(replace(config)) == shape.parameters


@some
@given(
    rubbish | damaged({"pid": 1, "host": "h", "user": "u", "since": 0.5, "ray_session": "", "ray_job": ""})
)
def test_a_lock_names_somebody_or_nobody(content: bytes) -> None:
    owner = read_owner(content.decode(errors="replace"))
    assert owner is None or isinstance(owner.pid, int)


@some
@given(anything)
def test_plain_values_are_described_or_refused_by_the_rules_of_their_field(value: Any) -> None:
    text = json.dumps(value)
    clear(lambda: override(LAPTOP, [f"budget.trials={text}", f"data.sources={text}", f"optim.lr={text}"]))
