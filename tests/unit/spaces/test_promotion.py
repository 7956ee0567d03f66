import pytest

from spaces.promotion import BehaviourConfig, PromotionConfig
from train_fn.errors import InputError


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: BehaviourConfig(prompts=1), "behaviour.prompts = 1 must be at least 2"),
        (lambda: BehaviourConfig(temperature=0.0), "behaviour.temperature = 0.0 must be above 0"),
        (lambda: BehaviourConfig(top_p=1.5), "behaviour.top_p = 1.5 must be in"),
        (lambda: PromotionConfig(confirming_seeds=-1), "promotion.confirming_seeds = -1"),
        (lambda: PromotionConfig(max_broken_lines=-1), "promotion.max_broken_lines = -1 must be 0"),
        (lambda: PromotionConfig(dtype="int8"), "promotion.dtype = 'int8' must be one of auto"),  # type: ignore[arg-type]
        (lambda: PromotionConfig(nll_tolerance=0.0), "promotion.nll_tolerance = 0.0 must be above 0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(make: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()  # type: ignore[operator]
