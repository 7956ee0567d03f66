import json
from pathlib import Path

from search.fresh import set_aside


def search_in(storage: Path, mark: str) -> Path:
    folder = storage / "exp4"
    weights = folder / "trials" / "0000" / "weights"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text(mark)
    summary = {"best": {"checkpoint": str(weights.resolve())}, "words": "ü"}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_search_is_moved_whole_and_its_summary_still_finds_the_weights(tmp_path: Path) -> None:
    assert set_aside(tmp_path, "exp4") is None
    search_in(tmp_path, "first")
    assert set_aside(tmp_path, "exp4") == tmp_path / "exp4.1"
    assert not (tmp_path / "exp4").exists()
    search_in(tmp_path, "second")
    assert set_aside(tmp_path, "exp4") == tmp_path / "exp4.2"
    for place, mark in (("exp4.1", "first"), ("exp4.2", "second")):
        summary = json.loads((tmp_path / place / "exp4" / "summary.json").read_text())
        assert (Path(summary["best"]["checkpoint"]) / "config.json").read_text() == mark
        assert summary["words"] == "ü"


def test_a_move_that_a_crash_interrupted_is_taken_up(tmp_path: Path) -> None:
    search_in(tmp_path, "first")
    (tmp_path / "exp4.1").mkdir()
    assert set_aside(tmp_path, "exp4") == tmp_path / "exp4.1"


def test_a_search_that_never_began_is_not_kept(tmp_path: Path) -> None:
    folder = search_in(tmp_path, "first")
    (folder / "events.jsonl").touch()
    assert set_aside(tmp_path, "exp4") is None
    assert folder.exists()
    (folder / "study.journal").touch()
    assert set_aside(tmp_path, "exp4") == tmp_path / "exp4.1", "its study may be of another space"
    search_in(tmp_path, "second")
    (folder / "events.jsonl").write_text("{}\n")
    assert set_aside(tmp_path, "exp4") == tmp_path / "exp4.2"
