from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from analysis.held_out import Pair
from analysis.rival import per_token, translated
from train_fn.bundled_path import bundled_folder
from train_fn.report import Evaluation
from train_fn.tokenizer import train_tokenizer

JUDGED = Evaluation(2.0, 0.1, (1.0, 3.0), (10, 10), 0.5)


def test_a_reply_costs_the_same_however_it_is_cut_into_tokens() -> None:
    ours = per_token(JUDGED, [5, 20])
    assert ours.example_nll == (2.0, 1.5)
    assert ours.example_tokens == (5, 20)
    assert ours.nll == pytest.approx((10 + 30) / 25)
    assert per_token(JUDGED, [10, 10]).nll == JUDGED.nll


def test_another_tokenizer_reads_the_same_texts(tmp_path: Path) -> None:
    bundled = AutoTokenizer.from_pretrained(bundled_folder())
    train_tokenizer(["How are you? I am fine, thanks."] * 9, 300, tmp_path)
    other = AutoTokenizer.from_pretrained(tmp_path)
    prompt, reply = "<START>\nYou: How are you?\nBot:", " I am fine, thanks."
    ids = [np.array(bundled(text).input_ids, np.int32) for text in (prompt, reply)]
    pair = Pair("a", ids[0], np.append(ids[1], bundled.eos_token_id))
    read = translated(pair, bundled, other)
    assert other.decode(read.prompt) == prompt
    assert other.decode(read.reply[:-1]) == reply
    assert read.reply[-1] == other.eos_token_id
    assert len(read.prompt) != len(pair.prompt)
    again = translated(read, other, bundled)
    assert again.reply.tolist() == pair.reply.tolist()
