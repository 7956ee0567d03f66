from dataclasses import replace
from pathlib import Path

import pytest

from search.cluster import local_machine
from search.session import _plan
from search.state import SearchState
from spaces import exp4
from spaces.override import override
from tests.toys import TOY_REPORT, VOCABULARY, save_toy_model, toy_prepared
from train_fn.errors import InputError


def test_a_token_without_an_embedding_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = [f"model.path={save_toy_model(tmp_path / 'model')}", "optim.effective_batch_size=16"]
    experiment = override(exp4.experiment("laptop"), settings)
    prepared = replace(toy_prepared(), report=replace(TOY_REPORT, highest_token=VOCABULARY))
    with pytest.raises(InputError, match=r"has 61 embeddings, and its tokenizer writes token 61 "):
        _plan(experiment, local_machine(), tmp_path, prepared, SearchState())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
