"""A search under every kind of fault, one after the other: nothing is lost, nothing is there twice."""

from itertools import cycle
from pathlib import Path

import pytest

from tests.chaos.faults import WEIGHTS
from tests.chaos.soak import Soak

MINUTES = 2.5
BY_RANKS = {
    1: ("rank", "tracking", "slot", "driver", "hang", "ray"),
    2: ("rank", "controller", "tracking", "slot", "hang"),
}
"""Ranks per slot -> faults; only a group of several has a controller."""


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize("ranks", BY_RANKS)
def test_no_figure_is_lost_or_doubled_whatever_dies(
    ranks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # put back afterwards: the soak sets it
    assert {kind for kinds in BY_RANKS.values() for kind in kinds} == set(WEIGHTS)
    soak = Soak(tmp_path, seed=0, ranks=ranks)
    soak.next_fault = cycle(BY_RANKS[ranks]).__next__
    tally = soak.run(MINUTES, tmp_path, kinds=BY_RANKS[ranks])
    assert set(tally.faults) == set(BY_RANKS[ranks])
    assert tally.reports_expected > 0
    assert (tally.lost, tally.doubled, tally.failed_trials) == (0, 0, 0), tally
