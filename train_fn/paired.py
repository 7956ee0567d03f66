"""Compare two trials on the same held-out examples."""

from train_fn.ratio import ratio_estimate
from train_fn.report import Evaluation


def paired_difference(a: Evaluation, b: Evaluation) -> tuple[float, float]:
    """Return the difference of two NLLs on the same examples, and its standard error, in nats per token.

    With d_i the difference on example i and w_i its answer tokens it is sum(w d) / sum(w), a ratio with the
    error of `ratio_estimate`. What the examples have in common, that some are harder than others, cancels.

    Returns:
        The NLL of `a` less that of `b`, and its standard error.
    """
    assert a.example_tokens == b.example_tokens, "trials are compared on the same examples"
    tokens, conversations = a.example_tokens, a.example_conversations or b.example_conversations
    sums = [w * (x - y) for w, x, y in zip(tokens, a.example_nll, b.example_nll, strict=True)]
    return ratio_estimate(sums, tokens, conversations)
