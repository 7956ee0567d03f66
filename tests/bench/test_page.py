from tests.bench.page import Machine, Ran, page
from tests.bench.result import Result

MACHINE = Machine("2026-01-02", "Some CPU", 2, 15.5, {"Python": "3.11.9", "torch": "2.13.0"})
FAST = Result("fast", 3.14159, 3.0, "higher", (3.0, 3.14159, 3.2))
SLOW = Result("slow", 0.5, 0.1, "lower", (0.4, 0.5, 0.6))


def test_the_page_shows_every_result_and_names_what_was_missed() -> None:
    ran = Ran("training", "Trains.", (FAST, SLOW), (), 12.0, 0)
    shown = page(MACHINE, [ran], "--quick", "Other work ran beside.")
    assert "| fast | 3.14 | 3 | higher | yes | 3, 3.14, 3.2 |" in shown
    assert "| slow | 0.5 | 0.1 | lower | no | 0.4, 0.5, 0.6 |" in shown
    assert "`python -m tests.bench.all --quick` on 2026-01-02: Some CPU, 2 cores, 15.5 GiB" in shown
    assert "Other work ran beside." in shown
    missed = shown.partition("## Missed")[2]
    assert "`slow`: 0.5, and the goal is 0.1" in missed
    assert "fast" not in missed


def test_a_benchmark_that_broke_is_named_and_one_with_keys_of_its_own_has_a_paragraph() -> None:
    line = {"name": "races", "seeds": 5, "speedup": None, "beaten": ["a", "b"], "lost": []}
    shown = page(
        MACHINE, [Ran("races", "Races.", (), (line,), 1.0, 0), Ran("gone", "Goes.", (), (), 1.0, 3)], "", ""
    )
    assert "## races\n\nname races; seeds 5; speedup not measured; beaten a, b; lost none." in shown
    assert "`gone` ended with exit code 3" in shown


def test_nothing_is_missed_when_all_goals_are_reached() -> None:
    assert page(MACHINE, [Ran("training", "Trains.", (FAST,), (), 1.0, 0)], "", "").endswith("Nothing.\n")
