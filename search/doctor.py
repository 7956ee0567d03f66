"""`python -m search.doctor exp4`: examine the cluster, or this machine, before a search runs on it."""

import os

from search import tracking_uri
from search.checkup import Check
from search.cli import experiment_parser, prepare_environment, resolve
from search.cluster import find_address, ray_cluster
from search.plan import draft_plan
from search.storage import make_storage
from spaces.repository import check_repo
from spaces.words import list_text
from train_fn.command import run_command
from train_fn.working_copy import local_storage

_MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED", "skipped": "-"}


def main() -> int:
    """Parse the command line, examine, and print a line for each check.

    Returns:
        The exit code: 0 nothing failed, 1 something did.
    """
    parser = experiment_parser(__doc__ or "")
    parser.add_argument(
        "--repo", default="", metavar="OWNER/NAME", help="ask whether the token may push there"
    )
    args = parser.parse_args()
    if args.repo:
        check_repo(args.repo)
    experiment = resolve(args)
    address = find_address(args.address)
    prepare_environment(address)
    storage = local_storage(args.storage)
    make_storage(storage)
    uri = tracking_uri.resolve(experiment.tracking.uri, os.environ.get("MLFLOW_TRACKING_URI"), storage)
    from search.autoscaler import growing_cluster
    from search.examination import examine
    from search.local_ray import connected

    checks: list[Check] = []
    with connected(address):
        cluster = growing_cluster() if address else ray_cluster()
        plan = draft_plan(experiment, cluster, storage)
        checkpoint = plan.model.disk.checkpoint_gib if plan.model else None
        for check in examine(experiment, cluster, storage, uri, checkpoint, args.repo):
            print(f"{check.name:<11} {_MARKS[check.verdict]:<8} {check.told}")
            checks.append(check)
    failed = [check.name for check in checks if check.verdict == "failed"]
    print(f"not ready: mend {list_text(failed)}" if failed else "ready")
    return 1 if failed else 0


if __name__ == "__main__":
    run_command(main)
