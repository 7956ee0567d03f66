"""Report what a search found: `python -m analysis.report exp4`.

The terminal gets a table at once; the page (`<storage>/exp4/report.html`) takes a few seconds more, and is
also put into MLflow. Works while the search still runs, on any machine that sees its folder.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from analysis.answer import tell
from analysis.behaviour_records import Listened, read_listened
from analysis.commands import add_storage, open_storage
from analysis.compare import Comparison, compare
from analysis.figures import ladder
from analysis.rank import Answer, answer
from analysis.records import SearchRecord
from analysis.runs import read_search
from train_fn.command import run_command
from train_fn.errors import InputError
from train_fn.working_copy import send_file

PAGE_NAME = "report.html"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = _parser().parse_args(argv)
    names = list(dict.fromkeys([*([args.experiment] if args.experiment else []), *args.compare]))
    if not names:
        raise InputError("no search was named; give one, for example `python -m analysis.report exp4`")
    if args.html is not None and (args.html.is_dir() or not args.html.name):
        raise InputError(f"--html {str(args.html)!r} is a folder; give a file, for example --html page.html")
    storage = open_storage(args.storage, names)
    searches = [read_search(storage, name) for name in names]
    for search in searches:
        _check_shown(search)
    found, comparison = answer(searches[0]), compare(searches) if len(searches) > 1 else None
    listened = read_listened(searches[0].folder)
    _print_table(searches[0], found, comparison, listened)
    sys.stdout.flush()
    _make_page(args, searches[0], found, comparison, listened)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="Say what a search found, in the terminal and as a page.",
    )
    parser.add_argument("experiment", nargs="?", help="name of a search, for example exp4")
    add_storage(parser)
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="SEARCH", help="searches to compare by their best trials"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help=f"default: DIR/EXPERIMENT/{PAGE_NAME}")
    parser.add_argument("--no-mlflow", action="store_true", help="do not put the page into MLflow")
    return parser


def _check_shown(search: SearchRecord) -> None:
    """Refuse a search of which nothing can be shown yet."""
    if not any(trial.windows or trial.status != "running" for trial in search.trials):
        state = "still running" if search.status == "running" else search.status
        raise InputError(
            f"search {search.name!r} ({state}) has no figures of any trial; nothing can be shown yet"
        )


def _print_table(
    search: SearchRecord, found: Answer, comparison: Comparison | None, listened: Listened | None
) -> None:
    from analysis.table import make_console, print_report

    told = tell(search, found, time.time())
    rungs = ladder(search, found.best).rungs
    print_report(make_console(), search, found, told, rungs, comparison, listened)


def _make_page(
    args: argparse.Namespace,
    search: SearchRecord,
    found: Answer,
    comparison: Comparison | None,
    listened: Listened | None,
) -> None:
    from analysis import page  # the plotting library takes a second to import

    now = time.time()
    text = page.render(page.compute(search, found, comparison, now, listened), now)
    path = args.html or search.folder / PAGE_NAME
    try:
        page.write_page(path, text)
        send_file(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give --html another file") from error
    print(f"\npage: {path} ({len(text) / 1e6:.1f} MB)")
    if not args.no_mlflow:
        from analysis.mlflow_link import ENVIRONMENT
        from analysis.publish import publish

        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        known = [search.experiment["tracking"]["uri"], os.environ.get("MLFLOW_TRACKING_URI", "")]
        print(publish(search.folder, text, known))


if __name__ == "__main__":
    run_command(main)
