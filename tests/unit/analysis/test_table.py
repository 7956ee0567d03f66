import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from analysis.answer import tell
from analysis.compare import compare
from analysis.figures import ladder
from analysis.gate import Check
from analysis.rank import answer
from analysis.records import SearchRecord
from analysis.table import (
    MAX_ROWS,
    PIPED_WIDTH,
    WIDTH,
    WIDTH_OF_VALUE,
    make_console,
    print_checks,
    print_report,
    table_order,
)
from spaces.words import seconds_text
from tests.unit.analysis.conftest import ahead_midway
from train_fn.times import PARTS


def printed(search: SearchRecord, others: tuple[SearchRecord, ...] = (), width: int = 160) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False)
    found = answer(search)
    told = tell(search, found, search.last_time)
    comparison = compare([search, *others]) if others else None
    print_report(console, search, found, told, ladder(search, None).rungs, comparison)
    return out.getvalue()


def test_the_answer_comes_first_and_the_best_trial_leads_the_table(search: SearchRecord) -> None:
    text = printed(search)
    best = answer(search).best
    assert best is not None
    assert text.startswith("exp9 (laptop) finished: 24 trials (")
    assert text.index(f"{best.id} is the best") < text.index("trial ")
    rows = [line for line in text.splitlines() if line.startswith("exp9-")]
    assert rows[0].startswith(f"{best.id} is the best")
    assert rows[1].split()[:2] == [best.id, "finished"]


def test_a_long_search_is_cut_and_says_so(search: SearchRecord) -> None:
    assert f"and {24 - MAX_ROWS} more trials; the page has them all" in printed(search)


def test_rungs_are_summed_up(search: SearchRecord) -> None:
    rung = ladder(search, None).rungs[0]
    assert f"rung 0 (1.0k tokens): {rung.arrived} arrived, {rung.kept} went on" in printed(search)


def test_reasons_are_printed_as_they_are(search: SearchRecord) -> None:
    odd = replace(search.trials[0], reason="[red]rank 0[/] :smile:")
    assert "[red]rank 0[/] :smile:" in printed(replace(search, trials=(odd,)))


def test_a_comparison_names_who_is_behind_and_what_to_beware_of(search: SearchRecord) -> None:
    text = printed(search, (replace(search, name="exp8", data_key="other"),))
    assert "not comparable" in text
    assert "note: exp8 was judged on other held-out examples" in text


def test_a_search_that_is_ahead_where_both_are_compared_is_not_called_behind(search: SearchRecord) -> None:
    one, other = ahead_midway(search)
    text = printed(one, (other,), width=200)
    assert re.search(r" 0\.5000 ± \S+ ahead at 3\.0k tokens, more than noise", text)


def test_every_trial_shows_what_its_time_went_into(search: SearchRecord) -> None:
    text = printed(search)
    heading, *rows = text.split("Where the time of these trials went:\n")[1].splitlines()
    assert heading.split() == ["trial", "all", *PARTS]
    first = table_order(search.trials)[0]
    assert first.times is not None
    spent = [first.times.total_s, *(first.times.of(part) for part in PARTS)]
    assert rows[0].split() == [first.id, *(word for s in spent for word in seconds_text(s).split())]
    assert len([row for row in rows if row.startswith("exp9-")]) == MAX_ROWS


def test_a_search_from_before_times_were_measured_shows_none(search: SearchRecord) -> None:
    old = replace(search, trials=tuple(replace(trial, times=None) for trial in search.trials))
    assert "Where the time" not in printed(old)


def test_on_a_narrow_terminal_reasons_and_times_stand_below_the_trials_in_words(seeded: SearchRecord) -> None:
    text = printed(seeded, width=80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    trials, rest = text.split("Why these trials ended:\n")
    ended, timed = rest.split("Where the time of these trials went:\n")
    for trial in table_order(seeded.trials)[:MAX_ROWS]:
        assert len(re.findall(rf"^{trial.id}  +{trial.status} .*k$", trials, re.M)) == 1
        assert f"{trial.id}  " in ended
        assert f"{trial.id}  {seconds_text(trial.times.total_s if trial.times else 0)} (start " in timed
    halved = next(trial for trial in table_order(seeded.trials) if trial.status == "halved")
    assert halved.reason in " ".join(ended.split())


def test_a_long_name_leaves_no_less_room_for_reasons(seeded: SearchRecord) -> None:
    name = "exp_lora_on_my_dialogues"
    trials = tuple(replace(trial, search=name) for trial in seeded.trials)
    long = replace(seeded, name=name, trials=trials)
    narrow = "Why these trials ended:"
    space = len(seeded.experiment["space"])
    edge = WIDTH + len("exp9-0000") + WIDTH_OF_VALUE * space
    more = len(name) - len("exp9")
    assert [narrow in printed(seeded, width=w) for w in (edge - 1, edge)] == [True, False]
    assert [narrow in printed(long, width=w) for w in (edge + more - 1, edge + more)] == [True, False]


def test_wrapped_lines_keep_their_indent(seeded: SearchRecord) -> None:
    lines = printed(seeded, width=80).split("\n\n")[1].splitlines()
    wrapped = [line for line in lines[1:] if not re.match(r"  (\w+: |effective|lr)", line)]
    assert wrapped
    assert all(re.match(r" {8,13}\S", line) for line in wrapped), wrapped


def test_piped_it_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert make_console().width == PIPED_WIDTH
    monkeypatch.setenv("COLUMNS", "77")
    assert make_console().width == 77


def test_all_trials_are_in_order_the_doomed_ones_last(search: SearchRecord) -> None:
    order = table_order(search.trials)
    assert sorted(trial.number for trial in order) == [trial.number for trial in search.trials]
    assert order[-1].doomed


def test_runs_that_confirm_a_trial_stand_below_it_and_say_so(seeded: SearchRecord) -> None:
    order = table_order(seeded.trials)
    assert len(order) == len(seeded.trials)
    best = answer(seeded).best
    assert best is not None
    assert [trial.confirms for trial in order[:3]] == [None, best.number, best.number]
    text = printed(seeded)
    assert text.startswith("exp9 (laptop) finished: 24 trials (")
    assert ", 4 runs to confirm the best\n" in text
    assert f"{best.id} with seed 1: trained its" in text
    assert "  seeds: Confirmed with 2 other seeds: " in text


def test_a_closed_gate_names_the_settings_of_what_failed() -> None:
    out = io.StringIO()
    checks = [
        Check("confirmed by other seeds", "none", "2 seeds", False, "promotion.confirming_seeds=2"),
        Check("cleaning rules", "off: markers", "all on", False),
        Check("repeats itself", "0.1", "at most 0.25", True, "promotion.max_repetition=0.25"),
    ]
    print_checks(Console(file=out, width=120), checks)
    assert out.getvalue().splitlines()[-2:] == [
        "The gate is closed: 2 of 3 failed (confirmed by other seeds and cleaning rules)",
        "  bounds that --set changes: promotion.confirming_seeds=2",
    ]
