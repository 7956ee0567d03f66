"""Compare two trials on the same held-out examples."""

import math

from train_fn.report import Evaluation


def paired_difference(a: Evaluation, b: Evaluation) -> tuple[float, float]:
    """Return the difference of two NLLs on the same examples, and its standard error, in nats per token.

    With d_i the difference on example i and w_i its answer tokens: r = sum(w d) / sum(w), the ratio
    estimator, and SE^2 = n / (n - 1) * sum(w^2 (d - r)^2) / sum(w)^2 (Cochran 1977, Sampling Techniques,
    section 6.4). What the examples have in common, that some are harder than others, cancels. Examples count
    as independent, although whole conversations are held out: where replies of one conversation are alike,
    the error is too small.

    Returns:
        The NLL of `a` less that of `b`, and its standard error; the error is 0 for a single example.
    """
    assert a.example_tokens == b.example_tokens, "trials are compared on the same examples"
    weights, n = a.example_tokens, len(a.example_tokens)
    differences = [x - y for x, y in zip(a.example_nll, b.example_nll, strict=True)]
    total = sum(weights)
    ratio = math.fsum(w * d for w, d in zip(weights, differences, strict=True)) / total
    squares = math.fsum((w * (d - ratio)) ** 2 for w, d in zip(weights, differences, strict=True))
    return ratio, math.sqrt(n / max(1, n - 1) * squares) / total
