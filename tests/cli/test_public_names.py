"""`import prompt_oirl` is quick, and its public names are there when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import prompt_oirl
from prompt_oirl.io.files import REPO_ROOT


def test_the_package_imports_nothing_heavy() -> None:
    heavy = ("torch", "xgboost", "pandas", "sklearn", "transformers")
    code = f"import sys, prompt_oirl; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO_ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_public_names_are_the_functions_themselves() -> None:
    from prompt_oirl import (
        Diagnosis,
        Evaluation,
        PromptSelector,
        VoteResult,
        diagnose,
        evaluate,
        read_log,
        vote,
    )
    from prompt_oirl.data import user_log
    from prompt_oirl.selection import diagnosis, evaluation_tables, selector, vote_result, voting
    from prompt_oirl.selection import evaluate as evaluation

    assert PromptSelector is selector.PromptSelector and read_log is user_log.read_log
    assert diagnose is diagnosis.diagnose and evaluate is evaluation.evaluate
    assert vote is voting.vote and Diagnosis is diagnosis.Diagnosis
    assert Evaluation is evaluation_tables.Evaluation and VoteResult is vote_result.VoteResult
    assert set(prompt_oirl.__all__) <= set(dir(prompt_oirl))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        prompt_oirl.nonsense  # noqa: B018
