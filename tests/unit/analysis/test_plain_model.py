"""Plain `transformers` says what the search's own evaluation says, and answers reproducibly."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis.held_out import Pair
from analysis.plain_model import PlainModel, answer, load_plain, response_nll
from spaces.promotion import BehaviourConfig
from tests.toys import ToyExamples
from tests.unit.analysis.spoken import bundled_pairs
from train_fn.bundled_path import bundled_folder
from train_fn.config import ModelConfig, TrainConfig
from train_fn.errors import InputError
from train_fn.evaluate import evaluate
from train_fn.loss import PackedLoss
from train_fn.model import fresh_model, load_base

QUICK = BehaviourConfig(prompts=4, max_new_tokens=8)


@pytest.fixture(scope="module")
def plain() -> PlainModel:
    return load_plain("bundled")


@pytest.fixture(scope="module")
def pairs(plain: PlainModel) -> tuple[Pair, ...]:
    return bundled_pairs(plain.tokenizer)


def test_the_nll_is_that_of_the_evaluation_of_the_search(plain: PlainModel, pairs: tuple[Pair, ...]) -> None:
    bare = replace(pairs[0], id="bare", prompt=np.zeros(0, np.int32), conversation=len(pairs))
    mine = [*pairs, bare]
    rows = tuple(np.concatenate([pair.prompt, pair.reply]) for pair in mine)
    borders = np.array([len(pair.prompt) for pair in mine], np.int32)
    examples = ToyExamples(rows, borders, np.zeros(len(rows), np.int16))
    module = PackedLoss(fresh_model(load_base(ModelConfig()), TrainConfig(), torch.float32, plain.device))
    theirs = evaluate(module, examples, 1024, plain.device, shared=False)
    for room in (4096, 100):
        found = response_nll(plain, mine, room)
        assert found.nll == pytest.approx(theirs.nll, abs=1e-5)
        assert found.stderr == pytest.approx(theirs.stderr, abs=1e-5)
        assert found.example_nll == pytest.approx(theirs.example_nll, abs=1e-4)
        assert found.example_tokens == theirs.example_tokens
        assert found.example_conversations == tuple(range(len(mine)))
    one = response_nll(plain, [replace(pair, conversation=k // 2) for k, pair in enumerate(mine)])
    assert one.stderr != pytest.approx(found.stderr, abs=1e-6), "it counts conversations"


def test_what_exceeds_the_context_is_cut_from_the_beginning_of_a_prompt(
    plain: PlainModel, pairs: tuple[Pair, ...]
) -> None:
    prompt = np.tile(pairs[0].prompt, 1 + plain.context // len(pairs[0].prompt))
    long = replace(pairs[0], id="long", prompt=prompt)
    cut = replace(long, id="cut", prompt=prompt[-(plain.context - len(long.reply)) :])
    assert response_nll(plain, [long]).nll == response_nll(plain, [cut]).nll
    assert answer(plain, [prompt], QUICK, True) == answer(
        plain, [prompt[-(plain.context - 8) :]], QUICK, True
    )


@pytest.mark.parametrize("sampled", [True, False])
def test_a_reply_depends_on_its_prompt_alone(
    plain: PlainModel, pairs: tuple[Pair, ...], sampled: bool
) -> None:
    prompts = [pair.prompt for pair in pairs[:4]]
    assert len({len(prompt) for prompt in prompts}) > 1, "some are padded"
    together = answer(plain, prompts, QUICK, sampled)
    assert together == [answer(plain, [prompt], QUICK, sampled)[0] for prompt in prompts]
    assert together == answer(plain, prompts[::-1], QUICK, sampled)[::-1]


def test_a_seed_decides_what_is_sampled_and_nothing_else(plain: PlainModel, pairs: tuple[Pair, ...]) -> None:
    prompts = [pair.prompt for pair in pairs[:4]]
    other = replace(QUICK, seed=1)
    assert answer(plain, prompts, QUICK, True) == answer(plain, prompts, QUICK, True)
    assert answer(plain, prompts, QUICK, True) != answer(plain, prompts, other, True)
    assert answer(plain, prompts, QUICK, False) == answer(plain, prompts, other, False)


def test_sampling_follows_the_distribution_of_the_model(plain: PlainModel, pairs: tuple[Pair, ...]) -> None:
    """Of the first token of many seeds: expected counts under top-k of the softmax, three deviations wide."""
    prompt, draws = pairs[0].prompt, 160
    one = replace(QUICK, max_new_tokens=1, temperature=1.0, top_p=1.0, top_k=3, repetition_penalty=1.0)
    with torch.inference_mode():
        ids = torch.from_numpy(prompt.astype(np.int64))[None].to(plain.device)
        top = plain.model(ids).logits[0, -1].float().topk(3)
    shares = torch.softmax(top.values, 0).tolist()
    texts = [plain.tokenizer.decode([i]) for i in top.indices.tolist()]
    said = [answer(plain, [prompt], replace(one, seed=seed), True)[0].text for seed in range(draws)]
    for text, share in zip(texts, shares, strict=True):
        spread = (draws * share * (1 - share)) ** 0.5
        assert abs(said.count(text) - draws * share) < 3.5 * spread


def test_a_reply_ends_at_the_end_token_and_says_so(plain: PlainModel, pairs: tuple[Pair, ...]) -> None:
    prompts = [pair.prompt for pair in pairs]
    replies = answer(plain, prompts, replace(QUICK, max_new_tokens=48), True)
    assert {reply.ended for reply in replies} == {True, False}
    assert not any(plain.tokenizer.eos_token in reply.text for reply in replies)


def test_a_context_without_room_for_a_reply_is_refused(plain: PlainModel, pairs: tuple[Pair, ...]) -> None:
    with pytest.raises(InputError, match=r"behaviour.max_new_tokens = 512 fills .* of 512 tokens; set it to"):
        answer(plain, [pairs[0].prompt], replace(QUICK, max_new_tokens=512), True)


def damaged(folder: Path, name: str, content: bytes | None) -> str:
    shutil.copytree(bundled_folder(), folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", None),
        ("model.safetensors", b"x" * 50),
        ("tokenizer.json", b"{"),
        ("config.json", b"{"),
    ],
)
def test_a_damaged_model_is_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    with pytest.raises(InputError, match=r"model .* cannot be read by transformers: .*; check the folder"):
        load_plain(damaged(tmp_path / "model", name, content))


def test_a_model_that_is_not_there_is_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no folder; give a folder, a Hub id or 'bundled'"):
        load_plain(str(tmp_path / "nothing"))


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = damaged(tmp_path / "model", "model.safetensors", None)
    state = load_file(bundled_folder() / "model.safetensors")
    name = next(name for name in state if "dense" in name)
    save_file({k: v for k, v in state.items() if k != name}, f"{folder}/model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"lacks 1 weights \({name}"):
        load_plain(folder)


def test_a_tokenizer_that_is_missing_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tokenizer|cannot be read"):
        load_plain(damaged(tmp_path / "model", "tokenizer.json", None))
