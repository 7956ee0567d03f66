import sys

import pytest

from train_fn.command import run_command
from train_fn.errors import InputError


def ends(main: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        run_command(main)  # type: ignore[arg-type]
    return int(ended.value.code or 0), capsys.readouterr().err


def test_bad_input_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise InputError("x = 1 must be 2;\n set it to 2")

    assert ends(main, capsys) == (2, "error: x = 1 must be 2; set it to 2\n")


def test_ctrl_c_is_130_and_success_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert ends(interrupted, capsys) == (130, "interrupted\n")
    assert ends(lambda: 0, capsys) == (0, "")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
    assert sys.stdout
