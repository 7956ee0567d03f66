"""What is learned, token by token, for one example of each input format; `pytest -s` prints it."""

from typing import Any

import numpy as np
import pytest

from tests.toys import ToyExamples
from train_fn.batches import build_micro_batch, plan_step
from train_fn.formats import conversation, examples
from train_fn.tokenizer import load_tokenizer, tokenise

HEADER = ["B", "ot", "'s", " P", "erson", "a", ":", " sh", "y", "\n"]
START = ["<", "S", "T", "A", "R", "T", ">", "\n"]
ASKED = ["You", ":", " H", "i", "\n", "B", "ot", ":"]
LEARNED = [" Hello", "!", "<|endoftext|>"]
ROWS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "prompt and generation": (
        {"prompt": "<START>\nYou: Hi\nBot:", "generation": " Hello!"},
        [*START, *ASKED],
    ),
    "input, output and reward": ({"input": "You: Hi\nBot:", "output": " Hello!", "reward": 1}, ASKED),
    "messages": (
        {
            "messages": [
                {"role": "system", "content": "shy"},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello!"},
            ]
        },
        [*HEADER, *START, *ASKED],
    ),
    "ShareGPT": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]},
        [*START, *ASKED],
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("bundled")


@pytest.mark.parametrize("name", ROWS)
def test_only_the_answer_and_its_end_are_learned(name: str, tokenizer: Any) -> None:
    row, prompt = ROWS[name]
    dialogue = conversation(row, "file:1", 0)
    assert dialogue is not None
    (example,) = examples(dialogue, "pygmalion", 0)
    (tokens,) = tokenise([example], tokenizer, "pygmalion")
    one = ToyExamples(
        (np.array(tokens.ids, np.int32),), np.array([tokens.prompt_length], np.int32), np.zeros(1, np.int16)
    )
    plan = plan_step(one, np.array([0]), "response", 0, 1, 64)
    batch = build_micro_batch(one, (0,), "response", plan)
    # A loss at position p is that of predicting the token at p + 1.
    learned = {int(position) + 1 for position in batch.loss_positions}
    for index, token in enumerate(tokens.ids):
        print(f"{'learned' if index in learned else '':>8} {token:>5} {tokenizer.decode([token])!r}")
    words = [tokenizer.decode([token]) for token in tokens.ids]
    assert [w for i, w in enumerate(words) if i not in learned] == prompt
    assert [w for i, w in enumerate(words) if i in learned] == LEARNED
    assert batch.targets.tolist() == tokens.ids[-len(LEARNED) :]
