"""Several optimizers at the same time, one log of the scorer: no answer is asked for twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Timer

import pytest
from misbehaving_server import MisbehavingServer
from test_opro_steps import Runner, reply_to

from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.opro.shared_log import SharedLog

ROW = LogRow("m", "toy", "train", "q", "1 + 1?", "2", "p", "Add.", 1.0)


def test_two_optimizers_at_once_pay_for_no_answer_twice(tmp_path: Path, server: MisbehavingServer) -> None:
    server.reply_to = reply_to
    runner = Runner(tmp_path / "root", server)
    running = [
        subprocess.Popen(
            runner.step1("--optimizer.model", name, "--run", name),
            cwd=REPO_ROOT / "opro_exps",
            env=runner.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for name in ("o", "p")
    ]
    for process in running:
        assert process.wait() == 0, process.stderr and process.stderr.read()
    asked = {text: n for text, n in server.answered.items() if "Begin it" not in text}
    rows = runner.rows()
    assert set(asked.values()) == {1}, "an answer was paid twice"
    assert len(asked) == len(rows) == len({(r.question_id, r.prompt_id) for r in rows})
    folder = runner.folder.parent
    needed, paid = 0, 0
    for name in ("o", "p"):
        for line in (folder / name / "seed0" / "spent.jsonl").read_text().splitlines():
            needed, paid = needed + json.loads(line)["needed"], paid + json.loads(line)["asked"]
    assert paid == len(rows) < needed, "both need the initial instruction"


def test_news_are_whole_lines_that_were_not_read_before(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, "toy")
    mine, other = SharedLog(files, "mine"), SharedLog(files, "other")
    other.part.parent.mkdir()
    line = json.dumps(asdict(ROW)) + "\n"
    other.part.write_text(line + line[:20])
    assert list(mine.rows()) == [ROW] and list(mine.news()) == []
    with other.part.open("a") as file:
        file.write(line[20:])
    assert list(mine.news()) == [ROW] and list(mine.news()) == []
    mine.part.write_text("{}\n")
    with pytest.raises(InputError, match="schema None.*delete that line"):
        list(mine.news())


def test_a_claim_ends_with_its_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = SharedLog(LogFiles(tmp_path, "toy"), "mine")
    hold = (
        "import sys, time\nfrom pathlib import Path\nfrom prompt_oirl.data.log_store import LogFiles\n"
        "from prompt_oirl.opro.shared_log import SharedLog\n"
        f"with SharedLog(LogFiles(Path({str(tmp_path)!r}), 'toy'), 'other').claimed(['A.', 'B.']):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    with subprocess.Popen([sys.executable, "-c", hold], env=environment, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with log.claimed(["C."]):  # nobody's
            assert not capsys.readouterr().err
        Timer(0.5, other.kill).start()
        with log.claimed(["B.", "A."]):  # both are let go at once: one wait, and not for a minute
            assert capsys.readouterr().err.count("waiting for its answers") == 1
    assert other.returncode
