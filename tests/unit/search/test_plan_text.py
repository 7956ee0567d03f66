import re
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search import plan_text
from search.cluster import Cluster, Node
from search.plan import Plan, draft_plan
from search.plan_text import LINE_WIDTH, distribution_text, plan_lines, plan_markdown, print_plan, sections
from spaces import exp4
from spaces.override import override
from spaces.paths import leaves

NODE = Node(32, 4, 512, 48, "node", "NVIDIA RTX A6000")


def cluster_plan(tmp_path: Path, **data: Any) -> Plan:
    return draft_plan(exp4.experiment("cluster"), Cluster((NODE,), local=True), tmp_path, **data)


def test_the_page_says_everything_a_reader_asks(tmp_path: Path) -> None:
    page = "\n".join(plan_lines(cluster_plan(tmp_path, mean_example_tokens=100.0, train_examples=50_000)))
    for words in (
        "EleutherAI/gpt-j-6b, 6.05B parameters, bf16",
        "50,000 examples",
        "NVIDIA RTX A6000",
        "1,000,000 → 1,700,000 → 2,890,000 → 4,913,000 → 8,352,100 → 14,198,570 tokens",
        "1,040,000,000, every trial to its end",
        "the best 2 trials again with 2 other seeds each, to the end: 4 runs more",
        "1e-07 to 0.0001, log-uniform",
        "one of 4, 8, 16, 32, 64, 128, 256",
        "steps to the first rung",
        "optimizer states  16.9 GiB",
        "of 48.0 GiB",
        "GPU-hours",
        "40% of 155 TFLOP/s",
        "per checkpoint",
        "effective_batch_size=64 lr=1e-06",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((), r"the better half of those .* so far, rounded up, goes on: about [\d, ]+ of 48, and some more"),
        (
            ("halving.eta=100", "halving.extra_survivors=0"),
            r"the best 1 in 100 of those .*: about [\d, ]+ of 48$",
        ),
        (("halving.noise_band=0",), r"of 48$"),
    ],
)
def test_the_page_tells_who_goes_on_at_a_rung(tmp_path: Path, settings: tuple[str, ...], told: str) -> None:
    experiment = override(exp4.experiment("cluster"), settings)
    rows = dict(sections(draft_plan(experiment, Cluster((NODE,), local=True), tmp_path))[1].rows)
    assert re.search(told, rows["halving"])


def test_every_field_of_the_base_is_on_the_page_as_set_reads_it(tmp_path: Path) -> None:
    experiment = exp4.experiment("cluster")
    lines = plan_lines(cluster_plan(tmp_path))
    words = " ".join(
        lines[lines.index(next(line for line in lines if line.startswith("Base configuration"))) :]
    )
    for path, value in leaves(experiment.base):
        name = path.rpartition(".")[2]
        shown = next(word for word in words.split() if word.startswith(f"{name}="))
        if shown.endswith(("=none", '=""')):
            continue
        changed = override(experiment, [f"{path}={shown.partition('=')[2]}"])
        assert dict(leaves(changed.base))[path] == value, path


def test_plain_lines_are_narrow_and_carry_no_colour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(cluster_plan(tmp_path))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(len(line) for line in printed.splitlines()) <= LINE_WIDTH


def test_a_terminal_gets_the_same_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_text.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    print_plan(cluster_plan(tmp_path))
    printed = capsys.readouterr().out
    for words in ("6.05B parameters", "optim.effective_batch_size", "steps to the first rung", "GPU-hours"):
        assert words in printed


def test_problems_come_last(tmp_path: Path) -> None:
    laptop = Cluster((Node(2, 0, 16, None, "laptop"),), local=True)
    plan = draft_plan(exp4.experiment("cluster"), laptop, tmp_path)
    assert "cannot work: resources.gpus_per_rank = 1" in "\n".join(plan_lines(plan))
    assert "none fits" in "\n".join(plan_lines(plan))
    assert plan_markdown(plan).splitlines()[-1].startswith("- cannot work: ")


def test_markdown_tables_are_whole(tmp_path: Path) -> None:
    table: list[str] = []
    for line in plan_markdown(cluster_plan(tmp_path)).splitlines():
        if line.startswith("|"):
            table.append(line)
        else:
            assert len({row.count("|") for row in table}) <= 1, table
            table = []


def test_the_plan_holds_the_numbers(tmp_path: Path) -> None:
    plan = cluster_plan(tmp_path, mean_example_tokens=100.0)
    assert plan.rungs == (1_000_000, 1_700_000, 2_890_000, 4_913_000, 8_352_100, 14_198_570)
    assert plan.slots == 1
    assert plan.steps[0].effective_batch_size == 4
    assert plan.model is not None
    assert plan.model.memory.weights_gib == pytest.approx(11.27, abs=0.01)


@pytest.mark.parametrize(
    ("distribution", "text"),
    [
        (FloatDistribution(1e-5, 1.0, log=True), "1e-05 to 1, log-uniform"),
        (FloatDistribution(0.0, 0.5, step=0.1), "0 to 0.5 in steps of 0.1, uniform"),
        (IntDistribution(0, 9_000), "0 to 9,000, uniform"),
        (IntDistribution(0, 100, step=10), "0 to 100 in steps of 10, uniform"),
        (CategoricalDistribution(("constant", "cosine")), "one of constant, cosine"),
    ],
)
def test_distributions_read_like_sentences(distribution: Any, text: str) -> None:
    assert distribution_text(distribution) == text
