"""What holds for every command: --version, --quiet, dashes, colours, completion, exit statuses, variables."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import run

import prompt_oirl
from prompt_oirl.cli import doctor
from prompt_oirl.io.files import REPO_ROOT

ANSWERS = "question,prompt,answer,gold\nWhat is 2 + 3?,Think.,It is 5.,5\n"


def test_version() -> None:
    result = run("--version")
    assert (result.status, result.stdout) == (0, f"prompt-oirl {prompt_oirl.__version__}\n")
    assert not result.stderr


def test_quiet_leaves_results_and_errors() -> None:
    grade = ("grade", "-", "--kind", "number")
    loud, quiet = run(*grade, stdin=ANSWERS), run("--quiet", *grade, stdin=ANSWERS)
    assert loud.stdout and loud.stderr and loud.status == quiet.status == 0
    assert quiet.stdout == loud.stdout and quiet.stderr == ""
    refused = run("diagnose", "nowhere.csv", "--quiet")
    assert refused.status == 1 and refused.stderr.startswith("error: missing nowhere.csv")
    assert run(*grade, stdin=ANSWERS).stderr == loud.stderr  # quiet for one command only


def test_quiet_keeps_warnings_whole_and_in_order() -> None:
    from prompt_oirl.cli.output import OnlyErrors

    class Kept(list[str]):
        flush = staticmethod(lambda: None)

        def write(self, text: str) -> None:
            self.append(text)

    kept = Kept()
    stream = OnlyErrors(kept)  # type: ignore[arg-type]
    for text in ("note: a\nwarn", "ing: b", "\n", "progress\rerror: no\n", "error: c\n", "cut off"):
        print(text, end="", file=stream)
    assert kept == ["warning: b\n", "error: c\n"] and not stream.isatty()


@pytest.mark.parametrize("flag", ["--cost-weight", "--cost_weight"])
def test_dashes_are_underscores(flag: str) -> None:
    result = run("evaluate", "nowhere.csv", flag, "0.5")
    assert result.status == 1 and "missing nowhere.csv" in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("no", "force", "coloured"),
    [("", "", False), ("", "1", True), ("", "0", False), ("1", "1", False), ("1", "", False)],
)
def test_colours(no: str, force: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no)
    monkeypatch.setenv("FORCE_COLOR", force)
    helped, wrong = run("fit", "--help"), run("fit", "--nonsense")
    assert (helped.status, wrong.status) == (0, 2)
    assert [("\x1b[" in text) for text in (helped.stdout, wrong.stderr)] == [coloured] * 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_written(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "completion"
    assert run("--tyro-write-completion", shell, str(script)).status == 0
    assert "prompt-oirl" in script.read_text(encoding="utf-8")
    if shell == "bash" and shutil.which("bash"):
        asked = (
            'source "$1"; COMP_WORDS=(prompt-oirl dia); COMP_CWORD=1; _tyro_prompt_oirl; echo "$COMPREPLY"'
        )
        done = subprocess.run(["bash", "-c", asked, "bash", script], capture_output=True, text=True)
        assert done.stdout == "diagnose\n", done.stderr


def test_completion_for_another_shell_is_refused(tmp_path: Path) -> None:
    refused = run("--tyro_write_completion", "tcsh", str(tmp_path / "completion"))
    assert refused.status == 1 and "error: completion for tcsh: choose bash, zsh or fish" in refused.stderr


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "prompt_oirl", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO_ROOT)
    assert done.stdout == run("--version").stdout and done.returncode == 0


def test_exit_statuses_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """141 is shown in test_cli.py, where a pipe is closed."""
    page = (REPO_ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", page, re.M) == ["0", "1", "2", "130", "141"]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    assert run("doctor", "--format", "yaml").status == run("nonsense").status == run().status == 2
    assert run("fit", "nowhere.csv", "--out", "x").status == 1 and run("--help").status == 0
    monkeypatch.setattr(doctor, "_machine", stop)
    stopped = run("doctor")
    assert stopped.status == 130 and stopped.stderr == "stopped; nothing was written\n"


def test_every_variable_is_on_the_page_and_known_to_doctor() -> None:
    page = (REPO_ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    on_page = set(re.findall(r"`([A-Z_]{5,})`", page))
    code = "".join(path.read_text(encoding="utf-8") for path in (REPO_ROOT / "prompt_oirl").rglob("*.py"))
    read = set(re.findall(r"[\"']((?:PROMPT_OIRL|OPENAI)_[A-Z_]+)[\"']", code))
    assert read and read <= on_page and on_page == {*doctor.SHOWN, *doctor.SECRET}
