"""Small files as evaluation tools write them, the real ones where they are, and spoilt ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from prompt_oirl.importers.log_file import read_answers
from prompt_oirl.io.files import REPO_ROOT, InputError

QUESTIONS = {"Ann has 3 apples and finds 4 more. How many has she?": "7", "What is 2 + 3?": "5"}
TIME = "2026-01-02T03-04-05.678901"
_SAMPLES = REPO_ROOT.parent / "shared" / "samples"
_JUNK = (None, True, -1, 7, 1e400, 10**400, "", "\ud800", "a\nb", [], {}, [[]], {"id": 1}, "{{question}}" * 3)


def sample_folder(tool: str) -> Path:
    """The folder of a tool's real files; the test is skipped where there is none."""
    if not (_SAMPLES / tool).is_dir():
        pytest.skip("the real files are not here")
    return _SAMPLES / tool


def write_lm_eval(folder: Path, templates: dict[str, str], **changes: Any) -> Path:
    """A run of lm-eval: each template is a task, its first question answered right, the second wrong.

    Parameters
    ----------
    templates : Jinja by task
    changes : fields of each line of the samples that differ
    """
    results = {
        "configs": {task: {"doc_to_text": text, "description": ""} for task, text in templates.items()},
        "n-shot": dict.fromkeys(templates, 0),
        "model_name": "tiny",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"results_{TIME}.json").write_text(json.dumps(results))
    for task, template in templates.items():
        lines = [
            {
                "doc_id": i,
                "doc": {"question": question, "answer": gold},
                "target": gold,
                "arguments": {
                    "gen_args_0": {"arg_0": template.replace("{{question}}", question), "arg_1": {}}
                },
                "resps": [["It is 7."]],
                "filter": "none",
                "metrics": ["acc"],
                "doc_hash": f"hash{i}",
                "acc": 1.0 - i,
            }
            | changes
            for i, (question, gold) in enumerate(QUESTIONS.items())
        ]
        (folder / f"samples_{task}_{TIME}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


def promptfoo_results(prompts: Sequence[str], *assertions: str) -> dict[str, Any]:
    """What promptfoo writes: each question asked with each prompt, the first one's assertions hold."""
    return {
        "results": {
            "prompts": [{"raw": raw, "label": raw, "provider": "tiny"} for raw in prompts],
            "results": [
                {
                    "promptIdx": j,
                    "vars": {"question": question, "answer": gold},
                    "prompt": {"raw": raw.replace("{{question}}", question), "label": f"label {j}"},
                    "provider": {"id": "tiny", "label": ""},
                    "response": {"output": "It is 7.", "tokenUsage": {"prompt": 11, "completion": 4}},
                    "cost": 0.25,
                    "gradingResult": {
                        "componentResults": [
                            {"pass": i == 0, "score": 1 - i, "assertion": {"type": name}}
                            for name in assertions
                        ]
                    },
                }
                for i, (question, gold) in enumerate(QUESTIONS.items())
                for j, raw in enumerate(prompts)
            ],
        }
    }


def spoilt(value: Any, rng: random.Random) -> Any:
    """A JSON value with one or two of its parts, at any depth, replaced, removed or doubled."""
    copy = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, 2)):
        here = copy
        while isinstance(here, dict | list) and here:
            key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
            if not isinstance(here[key], dict | list) or not here[key] or rng.random() < 0.2:
                if isinstance(here, dict) and rng.random() < 0.3:
                    del here[key]
                elif isinstance(here, list) and rng.random() < 0.3:
                    here.append(here[key])
                else:
                    here[key] = rng.choice(_JUNK)
                break
            here = here[key]
    return copy


def cut_or_overwritten(data: bytes, rng: random.Random) -> bytes:
    """Bytes that end early, or with some of them overwritten."""
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data) + 1)]
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.choice(b'\x00\xff"{}[],:\n\\9')
    return bytes(changed)


def read_or_refused(tool: str, files: Sequence[Path], verdict: str | None) -> bool:
    """Whether the files were read; if not, the refusal is one line. Anything else raises."""
    try:
        for row in read_answers(tool, files, verdict).rows:
            assert row.prompt is not None and row.question.strip()
            assert row.correct is None or 0 <= row.correct <= 1
    except InputError as error:
        assert str(error) and "\n" not in str(error), ascii(str(error))
        return False
    return True


def fuzz(
    write: Callable[[random.Random], tuple[str, list[Path], str | None]], seed: int, times: int
) -> tuple[int, int]:
    """How many spoilt inputs were read, and how many refused, neither being none.

    Parameters
    ----------
    write : writes one, and returns tool, files and verdict
    """
    rng = random.Random(seed)
    read = sum(read_or_refused(*write(rng)) for _ in range(times))
    assert 0 < read < times
    return read, times - read
