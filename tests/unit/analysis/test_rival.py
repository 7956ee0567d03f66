import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import decoders
from transformers import AutoTokenizer

from analysis.held_out import Pair
from analysis.hub import Target, look
from analysis.plain_model import load_plain
from analysis.rival import evaluate_rival, per_token, translated
from tests.hub.fixture import WRITE_TOKEN
from tests.hub.server import HubServer
from tests.toys import tokenizer_like_llama
from train_fn.bundled_path import bundled_folder
from train_fn.errors import InputError
from train_fn.report import Evaluation
from train_fn.tokenizer import train_tokenizer

TALKER = Target("lab/talker", "main")
JUDGED = Evaluation(2.0, 0.1, (1.0, 3.0), (10, 10), 0.5)


def test_a_reply_costs_the_same_however_it_is_cut_into_tokens() -> None:
    ours = per_token(JUDGED, [5, 20])
    assert ours.example_nll == (2.0, 1.5)
    assert ours.example_tokens == (5, 20)
    assert ours.nll == pytest.approx((10 + 30) / 25)
    assert per_token(JUDGED, [10, 10]).nll == JUDGED.nll
    four = Evaluation(2.0, 0.1, (1.0, 1.0, 3.0, 3.0), (10,) * 4, 0.5, (0, 0, 1, 1))
    assert per_token(four, [10] * 4).stderr == pytest.approx(1.0), "of two conversations"


def test_another_tokenizer_reads_the_same_texts(tmp_path: Path) -> None:
    bundled = AutoTokenizer.from_pretrained(bundled_folder())
    train_tokenizer(["How are you? I am fine, thanks."] * 9, 300, tmp_path)
    other = AutoTokenizer.from_pretrained(tmp_path)
    prompt, reply = "<START>\nYou: How are you?\nBot:", " I am fine, thanks."
    ids = [np.array(bundled(text).input_ids, np.int32) for text in (prompt, reply)]
    pair = Pair("a", ids[0], np.append(ids[1], bundled.eos_token_id), 0)
    (read,) = translated([pair], bundled, other)
    assert other.decode(read.prompt) == prompt
    assert other.decode(read.reply[:-1]) == reply
    assert read.reply[-1] == other.eos_token_id
    assert len(read.prompt) != len(pair.prompt)
    (again,) = translated([read], other, bundled)
    assert again.reply.tolist() == pair.reply.tolist()


def test_a_reply_begins_as_in_the_whole_text_where_a_tokenizer_puts_a_space_before_texts() -> None:
    bundled, spaced = AutoTokenizer.from_pretrained(bundled_folder()), tokenizer_like_llama("always")
    prompt, reply = "You: Hello\nBot:", "Hi"
    ids = [np.array(bundled(text).input_ids, np.int32) for text in (prompt, reply)]
    (read,) = translated([Pair("a", ids[0], ids[1], 0)], bundled, spaced)
    whole = spaced(prompt + reply, add_special_tokens=False).input_ids
    assert [*read.prompt, *read.reply[:-1]] == whole


def test_a_reply_keeps_the_space_that_a_decoder_takes_from_a_text_of_its_own() -> None:
    ours, theirs = tokenizer_like_llama("always"), tokenizer_like_llama("always")
    strip = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    ours.backend_tokenizer.decoder = decoders.Sequence(strip)
    whole = ours("Bot: Hello", add_special_tokens=False).input_ids
    prompt = ours("Bot:", add_special_tokens=False).input_ids
    pair = Pair("a", np.array(prompt, np.int32), np.array(whole[len(prompt) :], np.int32), 0)
    (read,) = translated([pair], ours, theirs)
    assert theirs.decode([*read.prompt, *read.reply[:-1]]).strip() == "Bot: Hello"


@pytest.fixture
def hub_of_talker(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it has the address of an earlier Hub
    hub.add_repository(TALKER.repo)
    return hub


def judge() -> None:
    held = look(TALKER)
    assert held.head is not None
    assert held.has_model
    evaluate_rival(TALKER, held.head, AutoTokenizer.from_pretrained(bundled_folder()), ())


@pytest.mark.parametrize("name", ["training_args.bin", "model-q4.gguf"])
def test_weights_that_nobody_can_read_are_told_with_a_way_on(hub_of_talker: HubServer, name: str) -> None:
    hub_of_talker.commit_file(TALKER.repo, "main", name, b"no model")
    told = (
        r"^what lab/talker@main holds cannot be read by transformers: .*; if the same command says so again, "
        r"take another --branch, or delete those weights there$"
    )
    with pytest.raises(InputError, match=told):
        judge()


def test_a_hub_that_fails_meanwhile_is_no_reason_to_delete_anything(hub_of_talker: HubServer) -> None:
    hub_of_talker.commit_file(TALKER.repo, "main", "model.safetensors", b"no model")
    commit = look(TALKER).head
    assert commit is not None
    hub_of_talker.fail_next("GET /api/models/lab/talker", status=500, times=99)
    with pytest.raises(InputError, match=r"^the Hub is busy \(500\); nothing was changed"):
        evaluate_rival(TALKER, commit, None, ())


def test_a_folder_here_of_the_repositorys_name_is_not_taken_for_the_branch(
    hub_of_talker: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_of_talker.commit_file(TALKER.repo, "main", "model.safetensors", b"no model")
    shutil.copytree(bundled_folder(), tmp_path / "here" / TALKER.repo)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(
        InputError, match=r"is on the Hub, but .* the folder 'lab/talker' that is here; run the"
    ):
        judge()
    assert load_plain(TALKER.repo).model.num_parameters() > 1e6, "without a revision the folder is meant"
