"""The command: base model and trials of a search, with real weights and real data, measured once."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import behaviour
from analysis.behaviour import measure, models_of
from analysis.behaviour_records import FIGURES, Listened, read_listened, settings_of
from analysis.rank import answer, ranked
from analysis.records import SearchRecord
from analysis.runs import read_search
from spaces.promotion import BehaviourConfig
from tests.unit.analysis.written import experiment, keep_lines, write_search
from train_fn.bundled_path import bundled_folder
from train_fn.command import run_command
from train_fn.config import DataConfig
from train_fn.errors import InputError
from train_fn.prepare import prepare
from train_fn.tokenizer import load_tokenizer

QUICK = BehaviourConfig(prompts=4, max_new_tokens=8, trials=1)


def write_personas(file: Path) -> Path:
    """Dialogues of many characters, each with a persona that its replies follow."""
    names, homes = (
        ("Aria", "Bob", "Cleo", "Dora", "Emil", "Finn"),
        ("a castle", "the sea", "a forest", "Mars"),
    )
    rows = []
    for name in names:
        for home in homes:
            for hour in range(4):
                said = f"I am {name} and I live near {home} since {hour + 2} o'clock this morning."
                turns = (("system", f"Home: {home}. {name} is kind."), ("user", f"Who are you, at {hour}?"))
                messages = [{"role": role, "content": text} for role, text in (*turns, ("assistant", said))]
                rows.append({"messages": messages, "char": name})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with prepared data, a search on it, and weights for its finished trials."""
    folder = tmp_path_factory.mktemp("runs")
    data = DataConfig(sources=(str(write_personas(folder / "mine.jsonl")),), eval_fraction=0.2)
    prepared = prepare(data, lambda: load_tokenizer("bundled"), "bundled", folder / "data")
    about = replace(experiment("exp9", 24), behaviour=QUICK)
    written = write_search(folder, about, data_key=prepared.key)
    for trial in read_search(folder, "exp9").trials:
        if trial.status == "finished":
            shutil.copytree(bundled_folder(), written / "trials" / f"{trial.number:04d}" / "weights")
    return folder


@pytest.fixture
def own(storage: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(storage, tmp_path / "runs"))


def finished(search: SearchRecord) -> list[int]:
    return [trial.number for trial in search.trials if trial.status == "finished"]


def test_one_command_measures_base_and_best_and_prints_both(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert behaviour.main(["exp9", "--storage", str(own)]) == 0
    first = capsys.readouterr().out
    listened = read_listened(own / "exp9")
    assert listened is not None
    assert listened.settings == QUICK
    base, trial = listened.models
    assert base.model == "base"
    assert trial.model.startswith("exp9-")
    assert trial.source == str(own / "exp9" / "trials" / trial.model[-4:] / "weights")
    assert tuple(base.figures) == FIGURES
    assert base.figures == trial.figures, "they are the same weights"
    assert base.exchanges == trial.exchanges
    assert len(base.exchanges) == 4
    for name in ("persona_adherence_plain", "persona_adherence_wpp", "attentiveness", "length_ratio"):
        assert base.figures[name] is not None
    for words in ("attentiveness", trial.model, base.exchanges[0].reference.strip()[:30], "measured in"):
        assert words in first
    assert f"`python -m analysis.report exp9 --storage {own}`" in first
    before = (own / "exp9" / "behaviour.json").read_bytes()
    assert behaviour.main(["exp9", "--storage", str(own)]) == 0
    assert capsys.readouterr().out.count("measured before") == 2
    assert (own / "exp9" / "behaviour.json").read_bytes() == before


def test_a_model_is_measured_again_when_settings_data_or_weights_changed(own: Path) -> None:
    search, said = read_search(own, "exp9"), list[str]()
    models = models_of(search, 1)

    def told(settings: BehaviourConfig) -> list[bool]:
        said.clear()
        measure(search, own, models, settings, said.append)
        return ["before" in line for line in said]

    assert told(QUICK) == [False, False]
    assert told(replace(QUICK, trials=2)) == [True, True]
    (Path(models[1][1]) / "model.safetensors").touch()
    assert told(QUICK) == [True, True], "the same content is the same model"
    config = Path(models[1][1]) / "config.json"
    config.write_text(config.read_text() + "\n")
    assert told(QUICK) == [True, False]
    assert told(replace(QUICK, seed=1)) == [False, False]
    listened = read_listened(own / "exp9")
    assert listened is not None
    assert listened.settings.seed == 1
    other = replace(search, data_key="0" * 32)
    with pytest.raises(InputError, match=r"the prepared data of exp9 cannot be read from .*; copy it back"):
        measure(other, own, models, replace(QUICK, seed=1), said.append)


def test_the_best_finished_trials_are_taken_or_those_that_are_named(storage: Path) -> None:
    search = read_search(storage, "exp9")
    numbers = finished(search)
    assert len(numbers) >= 2
    names = [name for name, _ in models_of(search, 9)]
    assert names[0] == "base"
    assert sorted(names[1:]) == [f"exp9-{number:04d}" for number in numbers]
    assert names[1] == f"exp9-{ranked(search.trials)[0].number:04d}"
    assert [name for name, _ in models_of(search, 9, numbers[:1])] == ["base", f"exp9-{numbers[0]:04d}"]
    lost = next(trial for trial in search.trials if trial.status != "finished")
    with pytest.raises(InputError, match=rf"exp9-{lost.number:04d} .* kept no weights"):
        models_of(search, 9, [lost.number])
    with pytest.raises(InputError, match=r"exp9 has no trial 99; its finished trials are \d"):
        models_of(search, 9, [99])


def test_the_first_trial_is_the_one_that_other_seeds_decided_for(own: Path, seeded: SearchRecord) -> None:
    first = ranked(seeded.trials)[0]
    trials = [replace(t, status="diverged") if t.confirms == first.number else t for t in seeded.trials]
    unstable = replace(seeded, folder=own / "exp9", trials=tuple(trials))
    best = answer(unstable).best
    assert best is not None
    assert best.number != first.number
    for number in (best.number, first.number):
        shutil.copytree(
            bundled_folder(), own / "exp9" / "trials" / f"{number:04d}" / "weights", dirs_exist_ok=True
        )
    assert [name for name, _ in models_of(unstable, 1)] == ["base", best.id]


def test_weights_are_found_after_the_storage_moved_and_missed_when_gone(own: Path) -> None:
    search = read_search(own, "exp9")
    number = finished(search)[0]
    folder = own / "exp9" / "trials" / f"{number:04d}"
    assert models_of(search, 1, [number])[1][1] == str(folder / "weights")
    for file in (folder / "weights").iterdir():
        file.rename(folder / file.name)
    assert models_of(search, 1, [number])[1][1] == str(folder), "the relative path that the ledger has"
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=rf"the weights of exp9-{number:04d} are gone: neither .*; copy"):
        models_of(search, 1, [number])


def test_a_base_model_of_random_weights_is_not_listened_to(storage: Path) -> None:
    search = read_search(storage, "exp9")
    about = dict(search.experiment)
    about["base"] = {**about["base"], "model": {**about["base"]["model"], "init": "random"}}
    names = [name for name, _ in models_of(replace(search, experiment=about), 1)]
    assert len(names) == 1
    assert names[0].startswith("exp9-")


def test_an_old_ledger_has_the_default_settings(storage: Path) -> None:
    search = read_search(storage, "exp9")
    assert settings_of(search) == QUICK
    about = {name: value for name, value in search.experiment.items() if name != "behaviour"}
    assert settings_of(replace(search, experiment=about)) == BehaviourConfig()


def test_a_search_without_a_finished_trial_is_one_line_and_exit_code_2(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_lines(own / "exp9", 12)
    monkeypatch.setattr(sys, "argv", ["behaviour", "exp9", "--storage", str(own)])
    with pytest.raises(SystemExit) as exit:
        run_command(behaviour.main)
    assert exit.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: exp9 has no finished trial to listen to (")
    assert error.count("\n") == 1


def test_what_is_kept_is_read_back_and_a_damaged_file_is_refused(own: Path) -> None:
    folder = own / "exp9"
    assert read_listened(folder) is None
    search = read_search(own, "exp9")
    (base,) = measure(search, own, [("base", "bundled")], QUICK, lambda line: None)
    assert read_listened(folder) == Listened(QUICK, search.data_key, (base,))
    file = folder / "behaviour.json"
    plain = json.loads(file.read_text())
    file.write_text(json.dumps({**plain, "version": 0}))
    assert read_listened(folder) is None
    for text in ('{"version": 2}', "{", json.dumps({**plain, "models": [{}]})):
        file.write_text(text)
        with pytest.raises(InputError, match=r"behaviour.json cannot be read .*; remove it"):
            read_listened(folder)


def test_models_stand_in_order_and_a_new_figure_replaces_the_old(own: Path) -> None:
    search = read_search(own, "exp9")
    (base,) = measure(search, own, [("base", "bundled")], QUICK, lambda line: None)
    listened = Listened(QUICK, "key", ())
    for name in ("final", "exp9-0007", "base", "exp9-0002", "base"):
        listened = listened.with_model(replace(base, model=name))
    assert [one.model for one in listened.models] == ["base", "exp9-0002", "exp9-0007", "final"]
