"""A selector folder of somebody else: nothing in it is run, and two processes may save into one folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from made_logs import made_log

from prompt_oirl import PromptSelector
from prompt_oirl.cli.main import main
from prompt_oirl.features.embedders import SentenceEmbedder
from prompt_oirl.features.minilm_files import minilm_folder
from prompt_oirl.io.files import InputError, content_key
from prompt_oirl.io.locks import held
from prompt_oirl.selection.storage import HEADER


def rename_embedder(folder: Path, embedder: Path | str, **info: str) -> None:
    """What anybody can do who knows this project: name another embedder, and compute the check anew."""
    header = json.loads((folder / HEADER).read_text())
    header.pop("check")
    header["embedder"] = str(embedder)
    header["embedder_info"] |= info
    (folder / HEADER).write_text(json.dumps(header | {"check": content_key(header)}))


@pytest.mark.parametrize("where", ["inside", "hub"])
def test_a_strangers_embedder_is_not_loaded(
    where: str, small_selector: PromptSelector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_selector.save(tmp_path / "selector")
    model, ran = folder / "model", tmp_path / "ran"
    model.mkdir()
    (model / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    (model / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "code.Evil"}]')
    named = str(model) if where == "inside" else "owner/model"
    rename_embedder(folder, named, **asdict(SentenceEmbedder(named).info))
    with pytest.raises(InputError, match="may bring code; if you trust it, name it yourself") as refused:
        PromptSelector.load(folder)
    assert "\n" not in str(refused.value) and not ran.exists()
    questions = tmp_path / "q.csv"
    questions.write_text("question\nWhy?\n")
    with pytest.raises(SystemExit, match="1"):
        main(["select", str(folder), str(questions)])
    assert "--embedder" in capsys.readouterr().err and not ran.exists()


def test_an_embedder_of_ones_own_is_used_where_it_is_named(tmp_path: Path) -> None:
    model = str(minilm_folder())
    selector = PromptSelector(model).fit(made_log(24))
    selector.save(tmp_path)
    with pytest.raises(InputError, match="name it yourself"):
        PromptSelector.load(tmp_path)
    again = PromptSelector.load(tmp_path, model)
    assert np.array_equal(again.predict_proba(["Why?"]), selector.predict_proba(["Why?"]))
    with pytest.raises(InputError, match="made with embedder"):
        PromptSelector.load(tmp_path, "minilm")


SAVE = """
import sys
from made_logs import made_log
from prompt_oirl import PromptSelector
selectors = [PromptSelector("tfidf", seed=s).fit(made_log(20, seed=s)) for s in (int(sys.argv[2]), 9)]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(10):
    selectors[turn % 2].save(sys.argv[1])
"""


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_that_save_into_one_folder_leave_a_whole_selector(processes: int, tmp_path: Path) -> None:
    """One save's cleaning must not remove what another has just written, and who reads meanwhile gets one."""
    folder = tmp_path / "selector"
    command = [sys.executable, "-c", SAVE, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": Path(__file__).parents[1]}
    started = [
        subprocess.Popen([*command, str(seed)], **pipes)  # type: ignore[call-overload]
        for seed in range(1, processes + 1)
    ]
    for process in started:
        assert process.stdout.readline() == b"ready\n"
    for process in started:
        process.stdin.write(b"\n")
        process.stdin.flush()
    loaded = 0
    while any(process.poll() is None for process in started):
        if (folder / HEADER).exists():
            PromptSelector.load(folder)
            loaded += 1
    assert [process.wait(60) for process in started] == [0] * processes and loaded > 3
    PromptSelector.load(folder).predict_proba(["Why?"])
    assert len(list(folder.glob("*.safetensors"))) == 2


HOLD = """
import sys, time
from pathlib import Path
from prompt_oirl.selection.storage import saving
with saving(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free_at_once(small_selector: PromptSelector, tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    assert (tmp_path / ".lock").exists()
    with pytest.raises(InputError, match="busy"), held(tmp_path / ".lock", "busy"):
        pass
    holder.kill()
    holder.wait()
    with held(tmp_path / ".lock", "busy"):
        pass
    small_selector.save(tmp_path)
    PromptSelector.load(tmp_path)
