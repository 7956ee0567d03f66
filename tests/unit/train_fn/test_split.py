from hypothesis import given
from hypothesis import strategies as st

from train_fn.formats import Example
from train_fn.split import split


def example(group, number):
    return Example(f"{group}#{number}", str(group), 0, "p", "r", "m", (), "")


GROUPS = st.lists(st.integers(0, 12), min_size=1, max_size=60)


@given(GROUPS, st.floats(0.01, 0.49), st.integers(2, 10), st.integers(0, 5))
def test_everything_has_one_side_and_no_conversation_has_two(groups, fraction, most, seed):
    examples = [example(group, i) for i, group in enumerate(groups)]
    sides = split(examples, fraction, most, seed)
    assert sorted([*sides.train, *sides.eval, *sides.unused]) == list(range(len(groups)))
    held = {examples[i].group for i in [*sides.eval, *sides.unused]}
    assert not {examples[i].group for i in sides.train} & held
    assert len(sides.eval) <= most
    assert sides.eval or len(set(groups)) == 1


@given(GROUPS, st.integers(0, 5))
def test_more_data_moves_nothing_to_the_other_side(groups, seed):
    few = [example(group, i) for i, group in enumerate(groups)]
    many = [example(f"new {i}", i) for i in range(200)] + few
    sides = split(many, 0.3, 10_000, seed)
    held = {many[i].group for i in sides.eval}
    fewer = few + many[:100]
    before = {fewer[i].group for i in split(fewer, 0.3, 10_000, seed).eval}
    assert before == held & {example.group for example in fewer}


def test_the_share_held_out_is_about_the_fraction_and_follows_the_seed():
    examples = [example(f"chat {i}", i) for i in range(4000)]
    sides = [split(examples, 0.1, 10_000, seed) for seed in (0, 0, 1)]
    assert 320 < len(sides[0].eval) < 480
    assert sides[0] == sides[1]
    assert sides[0] != sides[2]
