"""scripts/measure_real_logs.py on made files of one LLM each."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pandas as pd
from in_process import run_in_process
from made_logs import log_of_two_llms

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_real_logs.py"


def test_arms_of_one_file_and_of_several(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    made = log_of_two_llms(24)[["question", "prompt", "correct", "answer", "llm"]]
    llms = {"text-davinci-003": "big", "gpt-3.5-turbo": "small", "gpt-4o-mini": "big"}
    for llm, made_by in llms.items():
        rows = made[made.llm == made_by].drop(columns="llm").to_csv(index=False)
        (logs / f"re2_gsm8k_{llm}.csv.gz").write_bytes(gzip.compress(rows.encode()))
    whole = made.assign(llm=made.llm.map({"big": "gpt-4o-mini", "small": "gpt-3.5-turbo"}))
    whole.to_csv(logs / "re2_csqa.csv", index=False)
    page = tmp_path / "docs" / "own_logs.md"
    page.parent.mkdir()
    page.write_text("<!-- table: arms -->\n<!-- end -->\n")
    command = [sys.executable, str(SCRIPT), "--parts", "arms", "--logs", str(logs), "--root", str(tmp_path)]
    done = run_in_process(command, tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "results" / "reference" / "real_arms.csv").set_index(["log", "choice"])
    assert table.pairs.tolist() == [6] * 4 + [4] * 4 and (table.questions == 24).all()
    assert (table.loc[("re2_csqa", "best pair"), ["cents", "gain"]] == [0.06, 0]).all()
    free, equal = (table.loc[("re2_csqa", way)] for way in ("per question", "per question, equal cost"))
    assert free.cents >= equal.cents and 0 <= free.moved <= 1
    assert "| re2_csqa | best pair | 0.06 |" in page.read_text()


def test_missing_logs_are_said(tmp_path: Path) -> None:
    done = run_in_process(
        [sys.executable, str(SCRIPT), "--logs", str(tmp_path / "no"), "--root", str(tmp_path)], tmp_path
    )
    assert (
        done.returncode == 1
        and "run scripts/fetch_data.py --datasets real_logs, or pass --logs" in done.stderr
    )
    done = run_in_process([sys.executable, str(SCRIPT), "--parts", "legs", "--root", str(tmp_path)], tmp_path)
    assert done.returncode == 1 and "--parts legs: choose from verdicts,arms" in done.stderr
