from dataclasses import replace
from pathlib import Path

import yaml

from analysis.card import NAME, Card, cell, nameable, write_card
from analysis.gate import Check
from analysis.hub import Target
from analysis.rank import answer
from analysis.records import SearchRecord
from spaces.promotion import BehaviourConfig


def card(search: SearchRecord, **changes: object) -> Card:
    trial = answer(search).best
    assert trial is not None
    assert trial.last_eval is not None
    checks = (
        Check("unbalanced * or | quotes", "0.1 (0.0 to 0.2)", "at most 0.2", True),
        Check("persona", "cannot show it", "at least 0", None),
    )
    made = Card(
        search, trial, Target("org/name", "dev"), trial.last_eval.evaluation, checks, (), BehaviourConfig(),
        False, "run-1", "c0ffee",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def written(card: Card, folder: Path) -> str:
    write_card(card, folder, 1_800_000_000.0)
    return (folder / NAME).read_text()


def test_a_card_says_what_it_showed_and_where_it_comes_from(search: SearchRecord, tmp_path: Path) -> None:
    text = written(card(search), tmp_path)
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers"
    assert "base_model" not in front, "a bundled model is no model of the Hub"
    assert 'from_pretrained("org/name", revision="dev"' in text
    assert r"| unbalanced * or \| quotes | 0.1 (0.0 to 0.2) | at most 0.2 | passed |" in text
    assert "| not asked |" in text
    for known in ("`run-1`", "`c0ffee`", search.data_key, search.git_commit, "dropped: language"):
        assert known in text
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_card_of_another_trial_than_the_best_does_not_speak_of_the_best_one(
    search: SearchRecord, tmp_path: Path
) -> None:
    made = card(search)
    best = written(made, tmp_path)
    assert "\nThe best of 24 trials: " in best
    assert "* Chosen by the NLL" in best
    assert "Cannot be told from the best within noise" in best
    other = next(t for t in search.trials if t.status == "finished" and t.number != made.trial.number)
    text = written(replace(made, trial=other), tmp_path)
    assert "\nOne of 24 trials: " in text
    assert f" above the best, {made.trial.id}: " in text
    assert f"* It is not the trial that the search found the best: that is {made.trial.id}." in text
    assert "* Judged by the NLL" in text
    assert "Cannot be told from the best" not in text
    assert "picking the best" not in text


def test_a_card_names_no_place_of_this_machine_and_no_text_of_the_data(
    search: SearchRecord, tmp_path: Path
) -> None:
    made = card(search)
    config = {**made.trial.config, "model": {**made.trial.config["model"], "path": "/home/me/base-model"}}
    config["data"] = {**config["data"], "sources": ["/home/me/mine.jsonl", "hub:org/data"]}
    text = written(replace(made, trial=replace(made.trial, config=config)), tmp_path)
    assert "/home" not in text
    assert "mine.jsonl, hub:org/data" in text
    assert "`base-model`" in text
    assert "alert('data')" not in text


def test_the_same_card_is_the_same_bytes(search: SearchRecord, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(card(search), tmp_path / name)
    one, two = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_a_base_model_on_the_hub_is_linked_and_an_adapter_says_so(
    search: SearchRecord, tmp_path: Path
) -> None:
    made = card(search, adapter=True)
    config = {**made.trial.config, "model": {**made.trial.config["model"], "path": "org/base"}}
    text = written(replace(made, trial=replace(made.trial, config=config)), tmp_path)
    front = yaml.safe_load(text.split("---")[1])
    assert (front["library_name"], front["base_model"]) == ("peft", "org/base")
    assert front["base_model_relation"] == "adapter"
    assert "AutoPeftModelForCausalLM" in text


def test_names_and_cells_are_safe() -> None:
    assert nameable("org/name") == "org/name"
    assert nameable("../up/model") == "model"
    assert nameable("s3://bucket/file.jsonl") == "s3://bucket/file.jsonl"
    assert nameable("ftp://me:secret@host/file.jsonl") == "ftp://host/file.jsonl"
    assert cell("a | b\nc") == r"a \| b c"
