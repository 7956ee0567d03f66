import pytest

from train_fn.config import DataConfig, RunConfig
from train_fn.errors import InputError


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "https://me:s3cret@host/x.jsonl?token=t0p",
            r"data\.sources = 'https://\*\*\*@host/x\.jsonl' holds a 'token'; give the address alone, with",
        ),
        (
            "s3://me:s3cret@host/x",
            r"data\.sources = 's3://\*\*\*@host/x' holds a password; give the address alone",
        ),
        (
            "https://h/x?X-Amz-Signature=s3cret",
            r"data\.sources = 'https://h/x' holds a 'X-Amz-Signature'; give",
        ),
    ],
)
def test_a_source_that_holds_a_secret_is_refused_without_showing_it(source: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        DataConfig(sources=("mine.jsonl", source))
    assert "s3cret" not in str(caught.value)
    assert "t0p" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_some_generator_does_not_take_is_refused(seed: int) -> None:
    with pytest.raises(
        InputError, match=rf"run\.seed = {seed} must be at least 0 and below 4294967296; set it"
    ):
        RunConfig(seed=seed)
