import json

from search.runs_table import COLUMN_WIDTHS_PX, saved_view, table_address
from search.state import SearchState
from search.tracking import updates_of
from tests.unit.search.recorded import MAX_TOKENS, small_search


def test_every_column_is_something_that_trials_have() -> None:
    updates = [u for u in updates_of(SearchState(), small_search(), MAX_TOKENS)[0] if u.trial is not None]
    metrics = {f"metrics.`{figure.key}`" for update in updates for figure in update.figures}
    tags = {f"tags.`{key}`" for update in updates for key in update.tags}
    assert set(COLUMN_WIDTHS_PX) <= metrics | tags


def test_the_address_names_the_view_and_the_view_names_the_search() -> None:
    key, value = saved_view("exp9", "abcdef", 1000)
    assert table_address("7", "abcdef").startswith("#/experiments/7/runs?workflowType=machine_learning&")
    assert table_address("7", "abcdef").endswith(key.removeprefix("mlflow.sharedViewState."))
    view = json.loads(value)
    state = json.loads(view["state"])
    assert (view["name"], view["createdAt"]) == ("exp9: trials by eval NLL (abcd)", 1000)
    assert "'abcdef'" in state["searchFilter"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`eval/nll`", True)
