import json

import pytest

from train_fn.data_report import (
    MAX_SHOWN,
    DataReport,
    Drops,
    larger_limits,
    read_report,
    report_lines,
    summary_line,
    write_report,
)


def report(**changes):
    drops = Drops()
    for number in range(30):
        drops.add("language", f"a.jsonl:{number}#0", "привет " * 100)
    drops.start("over-length")
    fields = {
        "read": 40, "train": 8, "eval": 2, "dropped": drops.counts,
        "shown": {reason: tuple(some) for reason, some in drops.shown.items()},
        "train_tokens": 80, "eval_tokens": 20, "eval_answer_tokens": 9, "sources": ("a.jsonl",),
        "conversations": 40, "shortened": 7, "eval_conversations": 2, **changes,
    }  # fmt: skip
    return DataReport(**fields)


def test_a_report_that_does_not_add_up_cannot_be_made():
    with pytest.raises(ValueError, match="accounted for"):
        report(train=9)


def test_a_report_is_read_back_as_written(tmp_path):
    write_report(report(), tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report()
    assert json.loads((tmp_path / "report.json").read_text())["dropped"] == {"language": 30, "over-length": 0}


def test_examples_are_few_and_short():
    shown = report().shown["language"]
    assert len(shown) == MAX_SHOWN
    assert all(len(one.text) < 400 and "700 characters" in one.text for one in shown)


def test_the_lines_hold_every_figure():
    text = "\n".join(report_lines(report(), 2))
    for word in (
        "40",
        "30",
        "over-length",
        "8",
        "80 tokens",
        "7 of the kept prompts",
        "a.jsonl:1#0",
        "from 2 conv",
    ):
        assert word in text
    assert "a.jsonl:2#0" not in text
    assert not any("\n" in line for line in report_lines(report()))


def test_one_conversation_is_not_many():
    text = "\n".join(report_lines(report(conversations=1, eval_conversations=1)))
    assert text.count("from 1 conversation") == 2
    assert "conversations" not in text


def test_half_a_surrogate_in_the_data_does_not_stop_the_report(tmp_path):
    drops = Drops()
    drops.add("language", "a:1", "\ud83d")
    shown = {"language": tuple(drops.shown["language"])}
    write_report(report(read=11, dropped=drops.counts, shown=shown), tmp_path / "report.json")
    assert read_report(tmp_path / "report.json").dropped == {"language": 1}


def test_what_is_over_length_names_its_setting_and_what_a_larger_one_would_keep():
    assert larger_limits([65, 128, 300], 64) == {"128": 2, "512": 3}, "256 keeps no more than 128"
    assert larger_limits([5000], 64) == {}
    long = {"dropped": {"over-length": 30}, "shown": {"over-length": ()}, "max_example_tokens": 64}
    lines = report_lines(report(**long, would_keep={"128": 20, "512": 29}))
    assert "    by data.max_example_tokens = 64; 128 would keep 20 more, 512 would keep 29 more" in lines
    assert "    by data.max_example_tokens = 64" in report_lines(report(**long))
    assert "max_example_tokens" not in "".join(report_lines(report())), "a report from before lacks it"


def test_lines_without_a_reply_are_not_counted_as_replies():
    kinds = {"broken line": 26, "no reply": 2, "language": 2}
    found = report(dropped=kinds, shown=dict.fromkeys(kinds, ()))
    assert report_lines(found)[1].endswith("40  12 replies from 40 conversations, 28 lines without one")
    assert summary_line(found).startswith("data: 12 replies read, 2 dropped, 8 to train on")
    assert summary_line(found).endswith("2 held out; lines without a reply: 28")
    assert "without" not in summary_line(report())
