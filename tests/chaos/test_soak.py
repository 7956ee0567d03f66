"""A search under every kind of fault, one after the other: nothing is lost, nothing is there twice."""

from itertools import cycle
from pathlib import Path

import pytest

from tests.chaos.faults import WEIGHTS
from tests.chaos.soak import Soak

MINUTES = 2.5
ORDER = ("rank", "controller", "tracking", "slot", "driver", "hang", "ray")


@pytest.mark.slow
@pytest.mark.chaos
def test_no_figure_is_lost_or_doubled_whatever_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # put back afterwards: the soak sets it
    assert set(ORDER) == set(WEIGHTS)
    soak = Soak(tmp_path, seed=0)
    soak.next_fault = cycle(ORDER).__next__
    tally = soak.run(MINUTES, tmp_path, kinds=ORDER)
    assert set(tally.faults) == set(ORDER)
    assert tally.reports_expected > 0
    assert (tally.lost, tally.doubled, tally.failed_trials) == (0, 0, 0), tally
