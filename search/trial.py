"""`python -m search.trial exp4 --set optim.lr=1e-4`: one trial alone, without a search, for debugging."""

import time
from pathlib import Path

from search.cli import experiment_parser, prepare_environment, resolve, run_command
from train_fn.report import Report


def main() -> int:
    """Train the base configuration of an experiment in this process and print every window.

    Returns:
        The exit code: 0 when the trial finished, 1 when it ended otherwise.
    """
    parser = experiment_parser(__doc__ or "")
    args = parser.parse_args()
    experiment = resolve(args)
    prepare_environment()
    from search.data import prepared_data
    from train_fn.before import evaluate_base
    from train_fn.checkpoint_files import remove_all
    from train_fn.loop import train
    from train_fn.model import load_base
    from train_fn.tokenizer import save_tokenizer
    from train_fn.working_copy import local_storage

    started = time.time()
    config = experiment.base
    storage = local_storage(args.storage)
    prepared = prepared_data(config, storage, print)
    base = load_base(config.model)
    before = evaluate_base(base, config, prepared, storage / "cache")
    print(f"base model: eval NLL {before.nll:.4f} ± {before.stderr:.4f}")
    workspace = storage / f"{experiment.name}-trial" / time.strftime("%Y%m%d-%H%M%S")
    outcome = train(config, 0, prepared, base, workspace, print_report, started)
    assert outcome is not None, "nobody stops a trial that runs alone"
    remove_all(workspace)
    print(f"{outcome.status}: {outcome.reason}")
    if outcome.checkpoint:
        save_tokenizer(config.model, Path(outcome.checkpoint))
        print(f"weights: {outcome.checkpoint}")
    return 0 if outcome.status == "finished" else 1


def print_report(report: Report) -> bool:
    """Print one window as a line; the trial always goes on."""
    ema = f" (smoothed {report.points[-1].ema_90:.3f})" if report.points else ""
    scale = f" loss scale {report.loss_scale:g}" if report.loss_scale else ""
    judged = f" eval NLL {report.eval.nll:.4f} ± {report.eval.stderr:.4f}" if report.eval else ""
    print(
        f"{report.tokens_seen:>10,} tokens {report.steps:>6,} steps  loss {report.loss:.3f}{ema}"
        f"  lr {report.lr:.3g}  grad norm {report.grad_norm:.3g}{scale}"
        f"  {report.tokens_per_s:,.0f} tokens/s{judged}",
        flush=True,
    )
    return True


if __name__ == "__main__":
    run_command(main)
