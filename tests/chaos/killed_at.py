"""Run a command that kills itself at a chosen point: `python -m tests.chaos.killed_at POINT COUNT MODULE`.

The points are between two writes that a crash may separate; the command is the real one.
"""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

POINTS = ("told", "append", "halved", "asked", "reported")
"""Of the search; `retried` only comes where a trial fails, and `migrating` is a statement of those that make
MLflow's tables."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def countdown(count: int) -> Callable[[], None]:
    left = count

    def passed() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            die()

    return passed


def arm(point: str, count: int) -> None:
    from sqlalchemy import event as database
    from sqlalchemy.engine import Engine

    from search import ledger, recorder, study

    passed = countdown(count)
    append, tell, ask = ledger.Ledger.append, study.Study.tell, study.Study.ask

    def told(self: Any, *arguments: Any) -> None:
        passed()  # the ledger knows the end, the study does not
        tell(self, *arguments)

    def torn(self: Any, event: Any) -> None:
        if isinstance(event, recorder.Reported):
            os.write(self._file, ledger.encode(event).encode()[:40])
            passed()
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
        append(self, event)

    def halved(self: Any, event: Any) -> None:
        append(self, event)
        if isinstance(event, recorder.Decided) and not event.decision.keep:
            passed()  # judged, but not ended

    def reported(self: Any, event: Any) -> None:
        append(self, event)
        if isinstance(event, recorder.Reported) and event.report.eval is not None:
            passed()  # evaluated, but not judged

    def retried(self: Any, event: Any) -> None:
        append(self, event)
        if isinstance(event, recorder.Retried):
            passed()  # its examples are left out, and no checkpoint knows it

    def asked(self: Any) -> Any:
        answer = ask(self)
        passed()  # the study knows the trial, the ledger does not
        return answer

    match point:
        case "told":
            study.Study.tell = told  # type: ignore[method-assign]
        case "append":
            ledger.Ledger.append = torn  # type: ignore[method-assign]
        case "halved":
            ledger.Ledger.append = halved  # type: ignore[method-assign]
        case "reported":
            ledger.Ledger.append = reported  # type: ignore[method-assign]
        case "retried":
            ledger.Ledger.append = retried  # type: ignore[method-assign]
        case "asked":
            study.Study.ask = asked  # type: ignore[method-assign]
        case "migrating":
            database.listen(Engine, "after_cursor_execute", lambda *_: passed())


if __name__ == "__main__":
    point, count, module = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    sys.argv = sys.argv[3:]
    arm(point, count)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
