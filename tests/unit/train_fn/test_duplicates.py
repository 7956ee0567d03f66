import random

import numpy as np
import pytest
import xxhash
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from train_fn import duplicates
from train_fn.formats import Example

WORDS = [f"word{i}" for i in range(400)]


def example(message, reply, prompt=None):
    return Example("x#0", "g", 0, message if prompt is None else prompt, reply, message, (), "")


def sentence(rng, n=40):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def test_exact_duplicates_differ_in_case_and_space_at_most():
    pairs = [("Hi  there", " ok"), ("hi there", "OK"), ("hi there", "ok!"), ("hi", "there ok")]
    assert duplicates.exact_duplicates([example(*pair) for pair in pairs]) == {1}


def test_every_near_copy_is_found_and_no_other():
    rng = random.Random(0)
    originals = [sentence(rng) for _ in range(300)]
    copies = [f"{text} indeed" for text in originals]
    found = duplicates.near_duplicates([example("", t) for t in originals + copies], 0.85)
    assert found <= set(range(300, 600))
    assert len(found) >= 295


def test_the_verdict_agrees_with_the_jaccard_similarity_itself():
    rng = random.Random(1)
    for _ in range(200):
        words = sentence(rng, 30).split()
        other = list(words)
        for _ in range(rng.randrange(0, 4)):
            other[rng.randrange(30)] = rng.choice(WORDS)
        a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words, other))
        similar = len(a & b) / len(a | b)
        found = duplicates.near_duplicates([example("", " ".join(words)), example("", " ".join(other))], 0.8)
        if similar < 0.8:
            assert not found, similar
        elif similar > 0.95:
            assert found == {1}, similar


def test_the_first_one_stays():
    text = sentence(random.Random(2))
    assert duplicates.near_duplicates([example("", text)] * 3, 0.85) == {1, 2}


def test_history_does_not_make_neighbours_alike():
    rng = random.Random(3)
    history = sentence(rng, 300)
    pair = [example(sentence(rng, 10), sentence(rng, 10), history) for _ in range(2)]
    assert duplicates.near_duplicates(pair, 0.5) == set()


def test_signatures_are_those_of_an_independent_implementation():
    rng = random.Random(4)
    sets = [frozenset(rng.choice(WORDS) for _ in range(rng.randint(1, 60))) for _ in range(50)]
    size = 30
    theirs = MinHash.bulk(
        [[text.encode() for text in one] for one in sets],
        num_perm=size,
        seed=1,
        hashfunc=xxhash.xxh32_intdigest,
    )
    np.testing.assert_array_equal(duplicates.signatures(sets, size), [one.hashvalues for one in theirs])


def test_bands_are_shared_by_equal_sets_and_by_no_strangers():
    rng = random.Random(5)
    sets = [frozenset(sentence(rng, 12).split()) for _ in range(100)]
    shared = duplicates.shared_bands([*sets, sets[7]], 6, 5)
    assert len(shared[7]) == 6
    assert shared[7] == shared[-1]
    assert sum(map(len, shared)) == 2 * 6
    assert duplicates.shared_bands([], 6, 5) == []


@pytest.mark.parametrize(("jaccard", "edits"), [(0.85, 3), (0.7, 8), (0.5, 17), (0.3, 34)])
def test_nearly_all_pairs_above_a_threshold_are_found_whatever_it_is(jaccard, edits):
    rng = random.Random(6)
    vocabulary = [f"word{i}" for i in range(5000)]
    texts, above = [], 0
    for _ in range(600):
        words = rng.choices(vocabulary, k=150)
        other = list(words)
        for place in rng.sample(range(150), edits):
            other[place] = rng.choice(vocabulary)
        a, b = (set(zip(w, w[1:], w[2:], strict=False)) for w in (words, other))
        if jaccard <= len(a & b) / len(a | b) < jaccard + 0.1:
            above += 1
            texts += [" ".join(words), " ".join(other)]
    assert above > 200
    found = duplicates.near_duplicates([example("", text) for text in texts], jaccard)
    assert found <= set(range(1, len(texts), 2))
    assert len(found) >= 0.98 * above


def test_the_signature_of_the_default_is_what_it_was():
    assert [duplicates.bands_and_rows(jaccard) for jaccard in (0.85, 0.9, 1.0)] == [(6, 5)] * 3


@given(st.floats(0.3, 0.8499))
def test_a_signature_finds_its_threshold_at_a_cost_that_is_bounded(jaccard):
    bands, rows = duplicates.bands_and_rows(jaccard)
    assert 1 - (1 - jaccard**rows) ** bands >= 0.98 - 1e-9
    assert bands * rows <= 120
    assert rows > 1, "else every word that two texts share makes them meet"
