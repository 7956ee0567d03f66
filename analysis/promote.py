"""Promote the best trial of a search: `python -m analysis.promote exp4 --repo org/name --branch dev`.

Builds the folder to be sent, reads it back with plain `transformers`, measures it, and asks the gate. Without
`--push` nothing is sent. `--rollback` gives the branch its previous promotion; `--to file:///path` exports.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from analysis.candidate import choose_candidate, settings_of
from analysis.commands import add_storage, open_storage, prepare_environment
from analysis.gate import passed
from analysis.hub import Held, Target, check_rights, check_tag_name, check_target, look, look_back
from analysis.mlflow_link import ENVIRONMENT
from analysis.promotion import Commit, cannot_write, size_text
from analysis.records import SearchRecord, TrialRecord
from analysis.runs import read_search
from analysis.weights import trial_weights
from spaces.promotion import BehaviourConfig, PromotionConfig
from train_fn.command import run_command
from train_fn.errors import InputError

EXIT_GATE = 3


@dataclass(frozen=True)
class Job:
    """What the user asks to be promoted."""

    storage: Path
    search: SearchRecord
    trial: TrialRecord
    rules: PromotionConfig
    sampling: BehaviourConfig
    tag: str


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 3 the gate is closed."""
    args = _parser().parse_args(argv)
    prepare_environment()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    storage = open_storage(args.storage, [args.experiment])
    search = read_search(storage, args.experiment)
    if args.to:
        if args.repo or args.branch or args.rollback or args.push:
            raise InputError("--to exports into a folder; leave out --repo, --branch, --push and --rollback")
        folder = _folder_of(args.to)
        return export(_job(args, storage, search), folder)
    if not args.repo or not args.branch:
        raise InputError("a promotion needs --repo owner/name and --branch, or --to file:///folder")
    target = check_target(args.repo, args.branch)
    if args.tag:
        check_tag_name(args.tag)
    addresses = _addresses(search, args.no_mlflow)
    if args.rollback:
        return roll_back(search, target, args.push, addresses)
    return promote(_job(args, storage, search), target, args.push, addresses)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.promote",
        description="Send the best trial of a search to a branch on the Hub, if it passes a gate.",
    )
    parser.add_argument("experiment", help="name of a search, for example exp4")
    add_storage(parser)
    parser.add_argument("--repo", default="", metavar="OWNER/NAME", help="made (private) if missing")
    parser.add_argument("--branch", default="", help="made if missing")
    parser.add_argument("--push", action="store_true", help="do it; without, only say what would be done")
    parser.add_argument("--rollback", action="store_true", help="go back to the branch's previous promotion")
    parser.add_argument("--to", default="", metavar="file:///DIR", help="export the same folder instead")
    parser.add_argument("--trial", type=int, metavar="N", help="a finished trial; default: the best one")
    parser.add_argument("--tag", default="", help="default: the trial, for example exp4-0007")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="settings",
        help="change a bound, for example --set promotion.min_ended=0.8; may be given again",
    )  # fmt: skip
    parser.add_argument("--no-mlflow", action="store_true", help="do not tell MLflow")
    return parser


def _job(args: argparse.Namespace, storage: Path, search: SearchRecord) -> Job:
    trial = choose_candidate(search, args.trial)
    rules, sampling = settings_of(search, args.settings)
    trial_weights(search, trial)  # refuse what is gone before anything else is asked
    return Job(storage, search, trial, rules, sampling, args.tag or trial.id)


def promote(job: Job, target: Target, push: bool, addresses: list[str] | None) -> int:
    """Build, judge and send; return the exit code.

    Args:
        job: What to promote.
        target: Where to.
        push: Whether to send it.
        addresses: MLflow addresses that the search may have used; None leaves MLflow alone.

    Raises:
        InputError: Something is missing, the Hub refuses, or the branch moved. It says if the branch changed.
    """
    from analysis.hub_push import check_sent, check_tag, send, set_tag

    held = look(target)
    if push:
        check_rights(target, held.repo_exists)
    print(f"{job.trial.id} to {target}{'' if push else ' (dry run: nothing is sent without --push)'}")
    print(_holds(held))
    package, opened = _audition(job, held)
    if not opened:
        return EXIT_GATE
    same = held.holds(package)
    check_tag(held, job.tag, held.head if same else None)
    if not push:
        done = "it holds these very weights already" if same else "this folder in one commit"
        print(f"With --push {target} gets: {done}, and the tag {job.tag}.")
        return 0
    if same:
        assert held.head is not None
        commit = held.head
        print(f"{target} holds these weights already, at {commit[:12]}")
    else:
        commit = send(held, package, f"Promote {job.trial.id}")
        files = check_sent(target, commit, package)
        print(f"sent: commit {commit[:12]}, {files} files listed back, their hashes agree")
    set_tag(held, job.tag, commit)
    print(f"tag: {job.tag}")
    if addresses is not None:
        from analysis.registry import register

        folder, number = job.search.folder, job.trial.number
        print(register(folder, addresses, number, target, commit, _url(target, commit), package))
    print(f"Promoted: {_url(target, target.branch)}")
    return 0


def roll_back(search: SearchRecord, target: Target, push: bool, addresses: list[str] | None) -> int:
    """Give the branch its previous promotion; return the exit code.

    Args:
        search: Whose runs in MLflow are told.
        target: The branch.
        push: Whether to do it.
        addresses: MLflow addresses that the search may have used; None leaves MLflow alone.

    Raises:
        InputError: There is no previous promotion, or the Hub refuses. It says if the branch changed.
    """
    from analysis.hub_push import check_restored, previous_of, restore

    held = look(target)
    previous = previous_of(held)
    print(_holds(held))
    if not push:
        print(f"With --push it goes back to {previous[:12]} in one commit (dry run: nothing is changed).")
        return 0
    check_rights(target, held.repo_exists)
    before = look_back(target, previous)  # asked while nothing has changed: MLflow is told of it afterwards
    commit = restore(held, previous, f"Roll back to {previous[:12]}")
    files = check_restored(target, commit, previous)
    print(f"rolled back: commit {commit[:12]}, {files} files as at {previous[:12]}")
    if addresses is not None:
        from analysis.registry import point_back

        assert held.head is not None
        print(point_back(search.folder, addresses, target, before, Commit(held.head, held.record)))
    return 0


def export(job: Job, folder: Path) -> int:
    """Build, judge and copy into a folder; return the exit code.

    Raises:
        InputError: The folder cannot be written, or something is missing.
    """
    from analysis.audition import copy_out

    package, opened = _audition(job, None)
    if not opened:
        return EXIT_GATE
    copy_out(package, folder)
    print(f"Exported: {folder}")
    return 0


def _audition(job: Job, held: Held | None) -> tuple[Path, bool]:
    """Build and judge the folder; return it, and whether the gate is open."""
    from analysis.audition import audition, finish
    from analysis.table import make_console, print_checks

    result = audition(job.search, job.storage, job.trial, job.rules, job.sampling, held, print)
    finish(job.search, job.trial, result, held)
    print_checks(make_console(), result.checks)
    print(f"folder: {result.package}")
    for file in sorted(result.package.iterdir()):
        print(f"  {size_text(file.stat().st_size):>9}  {file.name}")
    return result.package, passed(result.checks)


def _folder_of(url: str) -> Path:
    parts = urlsplit(url)
    folder = Path(unquote(parts.path))
    is_local = parts.scheme == "file" and parts.netloc in ("", "localhost") and folder.is_absolute()
    if not is_local or "\0" in str(folder):
        raise InputError(f"--to {url!r} is no local address; write --to file:///path/of/folder")
    try:
        there = folder.exists()
    except OSError as error:
        raise cannot_write(folder, error, "give --to another folder") from error
    if there:
        raise InputError(f"--to {folder} is there already; name a new folder, nothing is written over")
    return folder


def _holds(held: Held) -> str:
    if not held.repo_exists:
        return f"{held.target.repo} does not exist (or the token may not see it); it is made, private"
    if held.head is None:
        return f"{held.target} does not exist; it is made"
    if held.record is not None:
        return f"{held.target} holds {held.record.trial}, eval NLL {held.record.eval_nll:.4f}"
    return (
        f"{held.target} holds {'a model that was not promoted from here' if held.has_model else 'no model'}"
    )


def _addresses(search: SearchRecord, silent: bool) -> list[str] | None:
    known = [search.experiment["tracking"]["uri"], os.environ.get("MLFLOW_TRACKING_URI", "")]
    return None if silent else known


def _url(target: Target, revision: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{target.repo}/tree/{revision}"


if __name__ == "__main__":
    run_command(main)
