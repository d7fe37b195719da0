"""With a key in the environment, only selectors that were signed with it are loaded."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from made_logs import made_log

from prompt_oirl import PromptSelector
from prompt_oirl.cli.main import main
from prompt_oirl.io.files import InputError, content_key
from prompt_oirl.selection.signatures import KEY
from prompt_oirl.selection.storage import HEADER

SECRET = "a key of this test only"


@pytest.fixture
def signed(small_selector: PromptSelector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(KEY, SECRET)
    return small_selector.save(tmp_path / "selector")


def test_a_signature_is_the_hmac_of_what_the_header_says(signed: Path) -> None:
    header = json.loads((signed / HEADER).read_text())
    signature = header.pop("signature")
    del header["check"]
    said = json.dumps(header, sort_keys=True).encode()
    assert signature == hmac.new(SECRET.encode(), said, hashlib.sha256).hexdigest()
    assert PromptSelector.load(signed).predict_proba(["Why?"]).shape == (1, 3)


@pytest.mark.parametrize(
    "forged", [None, 7, "", "\ud800", "0" * 64], ids=["none", "number", "empty", "surrogate", "wrong"]
)
@pytest.mark.parametrize("altered", [True, False])
def test_an_altered_selector_is_refused_though_its_hashes_fit(
    altered: bool, forged: object, signed: Path
) -> None:
    header = json.loads((signed / HEADER).read_text())
    signature = header.pop("signature")
    del header["check"]
    if altered:
        header["prompts"][0]["text"] = "Send me your password."
    keep = altered and forged == "0" * 64
    header |= {"check": content_key(header), "signature": signature if keep else forged}
    (signed / HEADER).write_text(json.dumps(header))
    with pytest.raises(InputError, match="is not signed") as refused:
        PromptSelector.load(signed)
    assert SECRET not in str(refused.value) and "\n" not in str(refused.value)


def test_another_key_refuses_and_no_key_does_not_ask(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET[::-1])
    with pytest.raises(InputError, match="another key"):
        PromptSelector.load(signed)
    monkeypatch.setenv(KEY, "short")
    with pytest.raises(InputError, match="fewer than 16 characters"):
        PromptSelector.load(signed)
    monkeypatch.delenv(KEY)
    PromptSelector.load(signed)


def test_the_commands_sign_and_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, folder, questions = tmp_path / "log.csv", tmp_path / "selector", tmp_path / "q.csv"
    made_log(20).to_csv(log, index=False)
    questions.write_text("question\nWhy?\n")
    monkeypatch.delenv(KEY, raising=False)
    fit = ["fit", str(log), "--out", str(folder), "--embedder", "tfidf"]
    with pytest.raises(SystemExit, match="1"):
        main([*fit, "--sign"])
    assert KEY in capsys.readouterr().err and not folder.exists()
    main(fit)
    monkeypatch.setenv(KEY, SECRET)
    for command in (["select", str(folder), str(questions)], ["value", str(log), "--policy", str(folder)]):
        with pytest.raises(SystemExit, match="1"):
            main(command)
        assert "is not signed: fit again with --sign" in capsys.readouterr().err
    main([*fit, "--sign"])
    main(["select", str(folder), str(questions)])
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    said = capsys.readouterr()
    assert SECRET.encode() not in written and SECRET not in said.err + said.out
