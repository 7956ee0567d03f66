import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("output", ["stdout", "stderr"])
def test_a_reader_that_goes_away_changes_nothing(output: str, tmp_path: Path) -> None:
    """What comes after is done all the same, also by a child that writes to the same output."""
    done = tmp_path / "done"
    code = (
        "import subprocess, sys; from pathlib import Path; from train_fn.command import run_command\n"
        "def main():\n"
        f"    for number in range(99_999): print(number, file=sys.{output})\n"
        "    subprocess.run(['sh', '-c', 'echo x && echo x >&2'], check=True)\n"
        f"    Path({str(done)!r}).touch()\n"
        "    return 3\n"
        "run_command(main)\n"
    )
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, output: subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as command:
        reader = getattr(command, output)
        assert reader.readline() == b"0\n"
        reader.close()
        told = b"" if output == "stderr" else command.stderr.read()
    assert (command.returncode, told.replace(b"x\n", b""), done.exists()) == (3, b"", True)
