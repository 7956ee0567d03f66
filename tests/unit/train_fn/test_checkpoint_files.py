from pathlib import Path

import pytest

from train_fn.checkpoint_files import (
    MANIFEST,
    complete_folders,
    digest_on_disk,
    find_problem,
    partial_folder,
    publish,
    remove_partial,
    tokens_of,
)


def made(workspace: Path, tokens: int) -> Path:
    folder = partial_folder(workspace, tokens)
    (folder / "state").mkdir(parents=True)
    for name in ("progress.json", "state/weights.pt"):
        (folder / name).write_text(f"{name} at {tokens}")
    names = ("progress.json", "state/weights.pt")
    publish(workspace, tokens, {name: digest_on_disk(folder / name) for name in names})
    return complete_folders(workspace)[-1]


def test_the_newest_two_stay_and_what_is_being_written_does_not_count(tmp_path: Path) -> None:
    for tokens in (9, 100, 1_000_000_000_000):
        made(tmp_path, tokens)
    partial_folder(tmp_path, 5).mkdir()
    assert [tokens_of(folder) for folder in complete_folders(tmp_path)] == [100, 1_000_000_000_000]
    remove_partial(tmp_path)
    assert not partial_folder(tmp_path, 5).exists()
    assert len(complete_folders(tmp_path)) == 2


def test_what_was_written_is_sound(tmp_path: Path) -> None:
    folder = made(tmp_path, 7)
    assert [find_problem(folder, share, 3) for share in range(3)] == [None] * 3


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("state/weights.pt", None, "lacks state/weights.pt"),
        ("state/weights.pt", "state/weights", "has 13 of the 21 bytes of state/weights.pt"),
        ("state/weights.pt", "state/weights.pt at 8", "has another state/weights.pt than was written"),
        ("progress.json", "", "has 0 of the 18 bytes of progress.json"),
        (MANIFEST, None, "has no readable manifest.json"),
        (MANIFEST, '{"progress.json": {"bytes": 1', "has no readable manifest.json"),
        (MANIFEST, "{}", "has no readable manifest.json"),
        (MANIFEST, '["progress.json"]', "has no readable manifest.json"),
        (MANIFEST, '{"progress.json": {"size": 1}}', "has no readable manifest.json"),
    ],
)
def test_every_damage_is_found_and_named(
    tmp_path: Path, name: str, content: str | None, problem: str
) -> None:
    folder = made(tmp_path, 7)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    told = [one for share in range(2) if (one := find_problem(folder, share, 2)) is not None]
    assert told
    assert all(one.startswith(problem) for one in told)
