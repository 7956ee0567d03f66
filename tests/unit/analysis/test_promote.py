from dataclasses import replace
from pathlib import Path

import pytest

from analysis.hub import Target, look
from analysis.hub_push import send
from analysis.promote import main, roll_back
from analysis.promotion import PromotionRecord, weight_hashes, write_record
from analysis.records import SearchRecord
from analysis.registry import register
from tests.hub.fixture import WRITE_TOKEN
from tests.hub.server import HubServer
from tests.unit.analysis.tracked import name_runs, tracked_runs
from train_fn.errors import InputError

TARGET = Target("lab/talker", "dev")


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("/folder", "is no local address; write --to file:///path/of/folder"),
        ("file://elsewhere/folder", "is no local address"),
        ("file:///a%00b", "is no local address"),
        (f"file:///{'a' * 300}", r"cannot write /a+ \(File name too long\); give --to another folder"),
        ("file:///", "--to / is there already; name a new folder"),
    ],
)
def test_an_export_goes_to_a_new_folder(storage: Path, to: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        main(["exp9", "--storage", str(storage), "--to", to])


def promote(search: SearchRecord, trial: int, run: str) -> str:
    """Send what is no model as a trial's, and tell MLflow of it; return the commit."""
    held, folder = look(TARGET), search.folder / f"package-{trial}"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights %d" % trial * 99)
    previous = held.head if held.record is not None else None
    write_record(
        PromotionRecord(f"exp9-{trial:04d}", 1.0, 2.0, "key", "abc", run, weight_hashes(folder), previous),
        folder,
    )
    commit = send(held, folder, f"Promote exp9-{trial:04d}")
    register(search.folder, [], trial, TARGET, commit, f"https://hub/{commit}", folder)
    return commit


def test_rolling_back_to_what_was_rolled_back_to_keeps_the_alias(
    search: SearchRecord,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    uri, made = tracked_runs(tmp_path, 4)
    runs = dict(zip(("parent", "0", "1", "2"), made, strict=True))
    name_runs(tmp_path, uri, runs)
    here = replace(search, folder=tmp_path)

    def rolled_back() -> str:
        assert roll_back(here, TARGET, True, []) == 0
        return capsys.readouterr().out.splitlines()[-1]

    promote(here, 0, runs["0"])
    promote(here, 1, runs["1"])
    assert rolled_back() == "MLflow: lab--talker version 1 has the alias dev again"
    promote(here, 2, runs["2"])
    assert rolled_back() == "MLflow: lab--talker version 1 has the alias dev again"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert client.get_model_version_by_alias("lab--talker", "dev").run_id == runs["0"]


def test_a_hub_that_fails_before_the_rollback_leaves_the_branch(
    search: SearchRecord, hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    here = replace(search, folder=tmp_path)
    first = promote(here, 0, "run-0")
    second = promote(here, 1, "run-1")
    hub.fail_next(f"GET .*/tree/{first}", status=500, times=9)
    with pytest.raises(InputError, match=r"\(500\); nothing was changed on lab/talker@dev"):
        roll_back(here, TARGET, True, [])
    assert look(TARGET).head == second
