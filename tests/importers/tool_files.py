"""Small files as evaluation tools write them, and the real ones where they are."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from prompt_oirl.importers import ImportedRow
from prompt_oirl.importers.log_file import write_log
from prompt_oirl.io.files import REPO_ROOT

SAMPLES = REPO_ROOT.parent / "shared" / "samples"

ANN = "Ann has 3 apples and finds 4 more. How many has she?"
BOX = "A box holds 12 eggs and 5 break. How many are whole?"
STEPS = "Let's think step by step."
QUESTIONS = {ANN: "7", "What is 2 + 3?": "5"}
TIME = "2026-01-02T03-04-05.678901"


def unnamed(rows: Sequence[ImportedRow]) -> list[ImportedRow]:
    """Rows without what names the answer and its verdict, which tests of their own look at."""
    return [replace(row, answer_id=None, verdict=None) for row in rows]


def repeats(rows: Sequence[ImportedRow]) -> list[int]:
    """Number of the repeat that each row gets in a log."""
    with TemporaryDirectory() as folder:
        log = write_log(Path(folder) / "log.csv", rows, append=False).log
    return list(log["sample"]) if "sample" in log else [0] * len(rows)


def sample_folder(tool: str) -> Path:
    """The folder of a tool's real files; the test is skipped where there is none."""
    if not (SAMPLES / tool).is_dir():
        pytest.skip("needs ../shared/samples")
    return SAMPLES / tool


def write(path: Path, value: Any) -> Path:
    """A JSON file, or JSON lines of a list if the name says so."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in value), encoding="utf-8")
    else:
        path.write_text(json.dumps(value), encoding="utf-8")
    return path


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


def chat(question: str, system: str | None = STEPS) -> list[dict[str, Any]]:
    """Messages with a question of the user."""
    messages = [{"role": "user", "content": question}]
    return [{"role": "system", "content": system}, *messages] if system is not None else messages


def completion(answer: str, **more: Any) -> dict[str, Any]:
    """A reply of chat completions."""
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 1},
    } | more


def inspect_log(samples: list[dict[str, Any]], steps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A log of inspect_ai as JSON."""
    evaluation = {"model": "openai/m", "task": "toy", "dataset": {"name": "sums"}}
    return {"status": "success", "eval": evaluation, "plan": {"steps": steps}, "samples": samples} | more


def inspect_sample(question: str, value: Any, epoch: int = 1, **more: Any) -> dict[str, Any]:
    """A sample of such a log, asked with a template."""
    return {
        "id": question[:3],
        "epoch": epoch,
        "input": question,
        "target": "7",
        "messages": chat(f"{STEPS}\n\n{question}", "Be brief."),
        "output": completion("7", usage={"input_tokens": 30, "output_tokens": 2}),
        "scores": {"match": {"value": value}},
    } | more


TEMPLATE_STEPS = [
    {"solver": "system_message", "params": {"template": "Be brief."}},
    {"solver": "prompt_template", "params": {"template": STEPS + "\n\n{prompt}"}},
    {"solver": "generate", "params": {}},
]


def pack_eval(path: Path, log: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """The log as an .eval file."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("_journal/start.json", json.dumps({"eval": log["eval"], "plan": log["plan"]}))
        for sample in log["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        archive.writestr("header.json", json.dumps({k: v for k, v in log.items() if k != "samples"}))
    return path


def llm_span(number: str, question: str, **attributes: Any) -> dict[str, Any]:
    """A span of an LLM's call as Phoenix's API writes it."""
    return {
        "name": "call",
        "context": {"trace_id": f"t{number}", "span_id": f"s{number}"},
        "span_kind": "LLM",
        "parent_id": None,
        "attributes": {
            "openinference.span.kind": "LLM",
            "llm.model_name": "m",
            "llm.prompt_template.template": "Think. {question}",
            "llm.prompt_template.variables": json.dumps({"question": question}),
            "llm.token_count.prompt": 12,
            "llm.token_count.completion": 3,
            "output.value": "7",
        }
        | attributes,
    }


def annotation(span: str, score: Any, name: str = "correctness") -> dict[str, Any]:
    """An annotation as Phoenix's API writes it."""
    return {"id": "a", "span_id": span, "name": name, "annotator_kind": "HUMAN", "result": {"score": score}}


def batch_lines(questions: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Requests and replies of a batch."""
    requests = [
        {"custom_id": f"q{i}", "url": "/v1/chat/completions", "body": {"model": "m", "messages": chat(q)}}
        for i, q in enumerate(questions)
    ]
    replies = [
        {"custom_id": f"q{i}", "response": {"status_code": 200, "body": completion("7")}, "error": None}
        for i in range(len(questions))
    ]
    return requests, replies


def payload(question: str, **more: Any) -> dict[str, Any]:
    """A StandardLoggingPayload of litellm."""
    return {
        "status": "success",
        "model": "m",
        "messages": chat(question),
        "response": completion("7"),
        "response_cost": 0.002,
        "prompt_tokens": 20,
        "completion_tokens": 1,
    } | more


def evals_events(correct: bool = True) -> list[dict[str, Any]]:
    """An event log of openai/evals with one sample."""
    return [
        {"spec": {"completion_fns": ["m"], "eval_name": "e"}},
        {
            "run_id": "r",
            "sample_id": "e.1",
            "type": "sampling",
            "data": {"prompt": chat(ANN), "sampled": ["7"]},
        },
        {"run_id": "r", "sample_id": "e.1", "type": "match", "data": {"correct": correct, "expected": "7"}},
        {"final_report": {"accuracy": 1.0}},
    ]


PROGRAM = {
    "predict": {
        "demos": [{"augmented": True, "question": "1+1?", "reasoning": "one and one", "answer": "2"}],
        "signature": {
            "instructions": "Answer the sum.",
            "fields": [
                {"prefix": "Question:", "description": "${question}"},
                {"prefix": "Reasoning:", "description": "${reasoning}"},
                {"prefix": "Answer:", "description": "the number"},
            ],
        },
        "lm": {"model": "openai/m"},
    },
    "metadata": {},
}
RESULTS = [
    {"question": ANN, "example_answer": "7", "reasoning": "3+4", "pred_answer": "7", "exact": True},
    {"question": BOX, "example_answer": "7", "reasoning": "12-5", "pred_answer": "8", "exact": False},
]
