import time
from pathlib import Path

import pytest

from tests.chaos.expected import expected_reports
from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.loop import train
from train_fn.report import Report


@pytest.mark.parametrize("seed", [0, 3])
def test_a_trial_reports_exactly_where_it_is_expected_to(tmp_path: Path, seed: int) -> None:
    config = toy_train_config(run__eval_at_tokens=(700, 900), run__seed=seed)
    prepared, reports = toy_prepared(), list[Report]()

    def emit(report: Report) -> bool:
        reports.append(report)
        return True

    train(config, 7, prepared, toy_base(), tmp_path, emit, time.time())
    assert len(reports) > 3
    assert [report.tokens_seen for report in reports] == list(expected_reports(config, prepared))
