"""Names of repositories on the Hugging Face Hub."""

from train_fn.errors import InputError


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository.

    Raises:
        InputError: It is not `owner/name`.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise InputError(f"--repo {repo!r} is no name of a repository; write --repo owner/name")
