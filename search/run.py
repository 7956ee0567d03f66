"""`python -m search.run exp4`: run a search, or go on with the one in the storage folder."""

import argparse
import subprocess
import sys
from pathlib import Path

from search.cli import EXIT_INTERRUPTED, experiment_parser, prepare_environment, resolve, run_command
from search.cluster import Cluster, find_address, local_machine, ray_cluster
from search.plan import Plan, make_plan
from search.plan_text import plan_markdown, print_plan
from spaces.experiment import Experiment
from spaces.space import check_space
from train_fn.prepare import Prepared

_TRACKING_TIMEOUT_S = 60.0


def main() -> int:
    """Parse the command line, plan, search, and print what came of it.

    Returns:
        The exit code: 0 finished, 1 no trial could run, 130 interrupted.
    """
    parser = experiment_parser(__doc__ or "")
    parser.add_argument("--plan", action="store_true", help="print what would happen and start nothing")
    args = parser.parse_args()
    experiment = resolve(args)
    check_space(experiment)
    if args.plan:
        print_plan(make_plan(experiment, _planned_cluster(args.address), args.storage))
        return 0
    prepare_environment()
    return _search(experiment, args)


def _planned_cluster(address: str) -> Cluster:
    """Return what a plan is made for: the cluster at the address, or this machine."""
    from search.local_ray import connected

    if not find_address(address):
        return local_machine()
    with connected(find_address(address)):
        return ray_cluster()


def _search(experiment: Experiment, args: argparse.Namespace) -> int:
    from search.ledger import FILE_NAME, Ledger

    folder: Path = args.storage / experiment.name
    ledger = Ledger(folder / FILE_NAME)
    try:
        return _locked(experiment, args, folder, ledger)
    finally:
        ledger.close()


def _locked(experiment: Experiment, args: argparse.Namespace, folder: Path, ledger: "Ledger") -> int:  # noqa: F821
    from search import tracking_uri
    from search.data import report_data
    from search.local_ray import connected
    from search.progress import Progress
    from search.summary import closing_lines, summarise, write_summary
    from search.summary import FILE_NAME as SUMMARY
    from search.tracking import Tracker
    from search.tuner import SearchInputs, search

    uri = tracking_uri.resolve(experiment.tracking.uri, args.storage)
    prepared = report_data(experiment.base, args.storage)
    address = find_address(args.address)
    if not address:
        plan = _plan(experiment, local_machine(), args.storage, prepared)
    with connected(address):
        if address:
            plan = _plan(experiment, ray_cluster(), args.storage, prepared)
        tracker = Tracker(uri, experiment, folder)
        tracker.start()
        progress = Progress(experiment)
        progress.start()
        inputs = SearchInputs(
            folder=folder.resolve(),
            prepared=prepared.folder.resolve(),
            data_key=prepared.key,
            cache=(args.storage / "cache").resolve(),
            git_commit=_git_commit(),
            slots=plan.slots,
        )
        try:
            state = search(experiment, inputs, ledger, [progress.update, tracker.listen])
        finally:
            progress.stop()
    for name, text in (("plan.md", plan_markdown(plan)),):
        (folder / name).write_text(text)
        tracker.artifact(folder / name)
    tracker.flush(_TRACKING_TIMEOUT_S)
    summary = summarise(state, experiment, tracker.run_ids())
    write_summary(folder / SUMMARY, summary)
    tracker.artifact(folder / SUMMARY)
    tracker.close(_TRACKING_TIMEOUT_S)
    for line in closing_lines(state, experiment, tracking_uri.dashboard_command(uri)):
        print(line)
    return {"finished": 0, "failed": 1, "interrupted": EXIT_INTERRUPTED}[state.status]


def _plan(experiment: Experiment, cluster: Cluster, storage: Path, prepared: Prepared) -> Plan:
    plan = make_plan(experiment, cluster, storage, mean_example_tokens=float(prepared.train.lengths.mean()))
    print_plan(plan)
    return plan


def _git_commit() -> str:
    """Return the commit of the working directory's repository, or nothing outside of one."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


if __name__ == "__main__":
    run_command(main)
