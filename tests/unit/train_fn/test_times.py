import dataclasses

import pytest

from train_fn.times import PARTS, Times, added, closed

SPENT = Times(*(float(2**k) for k in range(len(PARTS))))


def test_every_part_has_its_field_in_their_order() -> None:
    assert [field.name for field in dataclasses.fields(Times)] == [f"{part}_s" for part in PARTS]
    assert [SPENT.of(part) for part in PARTS] == [float(2**k) for k in range(len(PARTS))]


def test_the_parts_add_up_to_the_whole() -> None:
    assert Times().total_s == 0
    assert SPENT.total_s == 2 ** len(PARTS) - 1


def test_what_is_missing_of_the_wall_time_is_other_and_nothing_is_taken_away() -> None:
    longer = closed(SPENT, SPENT.total_s + 5)
    assert longer == dataclasses.replace(SPENT, other_s=SPENT.other_s + 5)
    assert closed(longer, longer.total_s) == longer
    assert closed(SPENT, 1.0) == SPENT


def test_sums_are_by_part() -> None:
    assert added([SPENT, Times(forward_s=1.5), SPENT]).forward_s == 2 * SPENT.forward_s + 1.5
    assert added([SPENT, SPENT]).total_s == pytest.approx(2 * SPENT.total_s)
    assert added([]) == Times()
