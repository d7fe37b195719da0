"""Selectors on the hub, by the real client against a server of its protocol, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, HubServer, hub_server, name_of
from made_logs import made_log

from prompt_oirl import PromptSelector
from prompt_oirl.io.files import REPO_ROOT, InputError
from prompt_oirl.selection.hub import located

ID = "ann/prompts"
# What a user does: push, load by name, push anew, load the old one, meet what goes wrong.
SCRIPT = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from prompt_oirl import PromptSelector
from prompt_oirl.cli.main import main
from prompt_oirl.io.files import InputError

first, second, texts = Path(sys.argv[1]), Path(sys.argv[2]), ["How many apples?", "Why?"]
told = {}

def picks(selector):
    return [selector.select(texts).tolist(), selector.predict_proba(texts).tolist()]

def refused(name, work):
    try:
        work()
        told[name] = "nothing"
    except InputError as error:
        told[name] = str(error)

def command(name, *words):
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(words)
        except SystemExit as stopped:
            err.write(f"exit {stopped.code}")
    out.flush()
    told[name] = [out.buffer.getvalue().decode(), err.getvalue()]

told["pushed"] = PromptSelector.load(first).push_to_hub("ann/prompts")
told["first"] = picks(PromptSelector.load("ann/prompts"))
told["again"] = PromptSelector.load(second).push_to_hub("ann/prompts", commit_message="anew")
told["second"] = picks(PromptSelector.load(Path("ann/prompts")))
commit = told["pushed"].rsplit("/", 1)[1]
told["old"] = picks(PromptSelector.load("ann/prompts", revision=commit))
command("select", "select", "ann/prompts", "questions.txt", "--revision", commit)
refused("nobody", lambda: PromptSelector.load("ann/nothing"))
refused("revision", lambda: PromptSelector.load("ann/prompts", revision="nope"))
refused("altered", lambda: PromptSelector.load("eve/altered"))
refused("empty", lambda: PromptSelector.load("eve/empty"))
command("typing error", "select", "here/selector", "questions.txt")
command("update", "fit", "log.csv", "--update", "ann/prompts")
os.environ.pop("HF_TOKEN")
refused("no login", lambda: PromptSelector.load(first).push_to_hub("ann/other"))
os.environ["PROMPT_OIRL_SIGNING_KEY"] = "a key of sixteen letters"
refused("unsigned", lambda: PromptSelector.load("ann/prompts"))
told["fetched"] = sorted(p.name for p in Path(os.environ["HF_HOME"]).rglob("*") if p.is_symlink())
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    log, root = made_log(60), tmp_path_factory.mktemp("selectors")
    return [PromptSelector("tfidf", model).fit(log).save(root / model) for model in ("linear", "knn")]


@pytest.fixture(scope="module")
def hub(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The server after the script, and what that told."""
    here = tmp_path_factory.mktemp("here")
    (here / "questions.txt").write_text("How many apples?\n")
    (here / "here").mkdir()
    files = {path.name: path.read_bytes() for path in folders[0].iterdir() if path.name != ".lock"}
    model = next(name for name in files if name.startswith("model-"))
    with hub_server() as server:
        server.commit("eve/altered", {**files, model: files[model][:-1] + b"\x07", "run.py": b"boom"})
        server.commit("eve/empty", {"pickle.bin": b"boom"})
        environment = os.environ | {"HF_ENDPOINT": server.url, "HF_HOME": str(here / "hf"), "HF_TOKEN": TOKEN}
        environment |= {"PYTHONPATH": str(REPO_ROOT), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        command = [sys.executable, "-c", SCRIPT, *map(str, folders)]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        yield server, json.loads(done.stdout)


def picks(folder: Path) -> list[Any]:
    selector, texts = PromptSelector.load(folder), ["How many apples?", "Why?"]
    return [selector.select(texts).tolist(), selector.predict_proba(texts).tolist()]


def test_what_is_pushed_is_loaded_by_name_and_by_commit(hub: Any, folders: list[Path]) -> None:
    server, told = hub
    assert told["first"] == told["old"] == picks(folders[0])
    assert told["second"] == picks(folders[1]) != told["first"]
    out, err = told["select"]
    assert out.splitlines()[0] == "question,rank,prompt,probability" and told["first"][0][0] in out
    assert f"note: {ID} is no folder here: taken from the hub, commit {told['pushed'][-40:]}" in err


def test_a_push_replaces_the_older_one_and_is_private(hub: Any, folders: list[Path]) -> None:
    server: HubServer = hub[0]
    files = {path.name for path in folders[1].iterdir()} - {".lock"}
    assert set(server.commits[ID][-1]) - {".gitattributes"} == files and "README.md" in files
    assert server.private[ID] and name_of(server.commits[ID][-1]) == hub[1]["again"][-40:]


def test_only_the_selector_is_fetched(hub: Any) -> None:
    server, told = hub
    assert {name.split("-")[0] for name in server.read} == {"selector.json", "model", "embedder"}
    assert {name.split("-")[0] for name in told["fetched"]} == {"selector.json", "model", "embedder"}


def test_what_goes_wrong_is_one_line(hub: Any) -> None:
    told = hub[1]
    assert told["nobody"].startswith(
        "there is no folder ann/nothing here, and the hub shows no ann/nothing: correct the path"
    )
    assert told["revision"] == f"there is no folder {ID} here, and {ID} on the hub has no revision nope"
    assert "is missing or not the file selector.json names" in told["altered"]
    assert "save a fitted PromptSelector there first" in told["empty"]
    # No name is sent to the hub where its first part is a folder here.
    assert "here/selector/selector.json" in told["typing error"][1] and "hub" not in told["typing error"][1]
    assert "--update ann/prompts: no such folder" in told["update"][1]
    assert told["no login"].startswith("ann/other cannot be put on the hub (")
    assert "is not signed" in told["unsigned"]


def test_a_path_is_not_sought_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prompt_oirl.selection.hub._client", lambda: pytest.fail("the hub was asked"))
    (tmp_path / "out" / "selector").mkdir(parents=True)
    for name in ("selector", "./out/s", "out/s", "out/selector", "a/b/c", "../a/b", "/a/b", "a b/c", "a/"):
        assert located(name) == Path(name)
    with pytest.raises(InputError, match="is a folder, which has no revision"):
        located("out/selector", "main")


def test_a_hub_that_is_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="there is no folder ann/away here, and the hub cannot be asked"):
        PromptSelector.load("ann/away")
