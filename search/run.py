"""`python -m search.run exp4`: run a search, or go on with the one in the storage folder."""

import os
import sys
from pathlib import Path

from search import tracking_uri
from search.cli import experiment_parser, prepare_environment, resolve
from search.cluster import Cluster, find_address, local_machine
from search.continuation import check_unchanged
from search.fresh import check_fresh
from search.halving import with_rungs
from search.ledger import FILE_NAME as LEDGER
from search.ledger import read_events
from search.plan import draft_plan, refuse
from search.plan_text import print_plan
from search.remote import is_dashboard, run_remotely
from search.state import replay
from search.storage import check_storage
from spaces.experiment import Experiment
from spaces.space import check_space
from train_fn.command import run_command
from train_fn.loading import loading
from train_fn.working_copy import local_storage


def main() -> int:
    """Parse the command line, plan, search, and print what came of it.

    Returns:
        The exit code: 0 finished, 1 no trial could run, 130 interrupted.
    """
    parser = experiment_parser(__doc__ or "")
    parser.add_argument("--plan", action="store_true", help="print what would happen and start nothing")
    parser.add_argument(
        "--fresh", action="store_true", help="begin anew; the search that is there is moved aside, whole"
    )
    parser.add_argument(
        "--allow-code-change", action="store_true",
        help="go on although the code that decides figures has changed since",
    )  # fmt: skip
    args = parser.parse_args()
    experiment = resolve(args)
    check_space(experiment)
    address = find_address(args.address)
    if is_dashboard(address):
        prepare_environment(address)
        return run_remotely(address, sys.argv[1:], str(args.storage))
    storage = local_storage(args.storage)
    if args.plan:
        _show_plan(experiment, storage, address, args.fresh)
        return 0
    with loading():
        prepare_environment(address)
        from search.session import run_session

    return run_session(experiment, storage, address, args.fresh, args.allow_code_change)


def _show_plan(experiment: Experiment, storage: Path, address: str, fresh: bool) -> None:
    """Print what would happen.

    Raises:
        InputError: It cannot, or the search that is there is another one.
    """
    check_storage(storage)
    if fresh:
        check_fresh(storage, experiment.name)
    tracking_uri.resolve(experiment.tracking.uri, os.environ.get("MLFLOW_TRACKING_URI"), storage)
    past = [] if fresh else list(read_events(storage / experiment.name / LEDGER))
    check_unchanged(with_rungs(experiment), None, past)
    plan = draft_plan(experiment, _machines(storage, address), storage, before=replay(past))
    print_plan(plan)
    refuse(plan)


def _machines(storage: Path, address: str) -> Cluster:
    """Return what a plan is made for: the cluster at the address, or this machine.

    Raises:
        InputError: The nodes of the cluster do not share the storage folder.
    """
    if not address:
        return local_machine()
    prepare_environment(address)
    from search.autoscaler import growing_cluster
    from search.local_ray import connected
    from search.shared import check_shared

    with connected(address):
        check_shared(storage)
        return growing_cluster()


if __name__ == "__main__":
    run_command(main)
