import pytest

from analysis.hub import Target, check_target
from train_fn.errors import InputError


def test_a_target_is_written_as_repository_at_branch() -> None:
    assert str(check_target("org/name", "team/dev-2")) == "org/name@team/dev-2"
    assert check_target("org/name", "main") == Target("org/name", "main")


@pytest.mark.parametrize(
    "repo", ["name", "a/b/c", "org/na me", "org/--x", "/name", "org/", "https://hub/org/name"]
)
def test_what_is_no_repository_is_refused(repo: str) -> None:
    with pytest.raises(InputError, match="is no name of a repository; write --repo owner/name"):
        check_target(repo, "dev")


@pytest.mark.parametrize("branch", ["", "-x", "a b", "a..b", "a/", "x.lock", "a//b", "~1", "a:b", "a@{1}"])
def test_what_is_no_branch_is_refused(branch: str) -> None:
    with pytest.raises(InputError, match="is no name of a branch"):
        check_target("org/name", branch)
