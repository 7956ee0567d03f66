"""What every command of the search shares: its arguments and its environment."""

import argparse
import logging
import os
from collections.abc import Callable

from search import tracking_uri
from search.cluster import find_address, local_machine
from search.remote import TOKEN, is_dashboard
from spaces.experiment import Experiment, Profile
from spaces.load import load_experiment
from spaces.override import override

EXIT_RAY_LOST = 3

Say = Callable[[str], None]


def experiment_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that name an experiment and change it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("experiment", help="name of an experiment in spaces/, for example exp4")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="settings",
        help="change a field, for example --set optim.lr=1e-5; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--profile", choices=("cluster", "laptop"), help="what to run on; default: what is there"
    )
    parser.add_argument(
        "--storage", default="runs", metavar="DIR",
        help="a folder, or an address such as s3://bucket/path; default: runs",
    )  # fmt: skip
    parser.add_argument(
        "--address",
        default="",
        help="address of a running Ray cluster, or http address of its dashboard; default: RAY_ADDRESS",
    )
    return parser


def resolve(args: argparse.Namespace, say: Say = print) -> Experiment:
    """Return the experiment the arguments name, under the profile that fits, with its changes applied.

    Args:
        args: Parsed by a parser of `experiment_parser`.
        say: Receives the line that tells which profile was taken, and why.
    """
    address = find_address(args.address)
    profile: Profile
    if args.profile:
        profile = args.profile
        say(f"profile: {profile} (asked for)")
    elif address:
        profile = "cluster"
        say(f"profile: cluster (Ray at {address})")
    elif any(node.gpus for node in local_machine().nodes):
        profile = "cluster"
        say("profile: cluster (this machine has a GPU)")
    else:
        profile = "laptop"
        large = load_experiment(args.experiment, "cluster")
        ranks = large.resources.ranks_per_slot
        say(
            f"profile: laptop, because this command starts Ray on a machine without a GPU. On a cluster it "
            f"would run {large.budget.trials} trials of {large.base.model.path} with "
            f"{large.base.run.max_tokens:,} tokens each on {ranks} GPUs "
            f"per trial (--profile cluster --plan shows it)."
        )
    return override(load_experiment(args.experiment, profile), args.settings)


def prepare_environment(address: str = "") -> None:
    """Set what the libraries read from the environment, unless the user already did.

    Must run before ray, torch, deepspeed or mlflow is imported.

    Args:
        address: Of the Ray cluster to be used; empty when this command starts its own, which then listens on
            loopback only.
    """
    if not address:
        # On Linux Ray binds to the host's address unless it is told that this machine joins no cluster.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # A slot of several ranks is half a dozen processes; Ray would start two at a time, and warn.
        os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "16")
        # It would also start one per CPU that none of ours can use: they bring an environment of their own.
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
        # Nobody announces the end of this machine to a Ray of our own; the watcher is one process a slot.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # A worker group is over when Ray Train next looks, and the search is when its last group is.
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
        if not any(node.gpus for node in local_machine().nodes):
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # on a cluster each machine sees for itself
    elif is_dashboard(address) and TOKEN.expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray's clients send the token in this mode only
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads made the same step eight times slower
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # we fork; the tokenizer's threads do not survive it
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # search.progress shows the search
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # search.tracking writes the figures
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative source paths mean the user's folder
    os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "30")
    for name, value in tracking_uri.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DS_IGNORE_CUDA_DETECTION", "1")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # search.tracking says once that MLflow is away
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # or that its disk is full
    # Tune's record of a search is for a restore of its own, which we never use.
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    # A Gaussian process that cannot be fitted takes its default kernel for that proposal, and says so.
    logging.getLogger("optuna._gp.gp").setLevel(logging.ERROR)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
