"""Small evaluations for lm-eval, promptfoo and inspect_ai: 60 questions asked with 3 prompts, without an LLM.

    python scripts/make_tool_examples.py --out example_evals

Each tool has something for tests that answers: lm-eval a dummy model that chooses at random, promptfoo an
echo of the prompt, inspect mockllm, which here gives the real answers of the tiny model in data/nano_log. So
verdicts of the first two mean nothing. docs/import.md runs all three and reads what they write.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prompt_oirl.io.files import Paths, atomic_write, require
from prompt_oirl.io.manifest import run_step

NAMES = ("nan", "CoT", "APE")

INSPECT_TASKS = '''"""Three tasks of inspect_ai, one a prompt: inspect eval sums.py --model mockllm/model"""

import json
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate, prompt_template

ASKED = json.loads((Path(__file__).parent / "sums.json").read_text())


def sums(name):
    def answer(messages, *_):
        row = next(row for row in ASKED[name]["rows"] if row["question"] in messages[-1].text)
        output = ModelOutput.from_content("mockllm/model", row["answer"])
        output.usage = ModelUsage(input_tokens=row["tokens_in"], output_tokens=row["tokens_out"])
        return output

    return Task(
        dataset=[Sample(input=row["question"], target=row["gold"]) for row in ASKED[name]["rows"]],
        solver=[prompt_template("{prompt}\\n" + ASKED[name]["prompt"]), generate()],
        scorer=match(numeric=True),
        model=get_model("mockllm/model", custom_outputs=answer),
    )


@task
def sums_nan():
    return sums("nan")


@task
def sums_CoT():
    return sums("CoT")


@task
def sums_APE():
    return sums("APE")
'''


@dataclass
class Args:
    out: Path
    """Folder that the evaluations are written to."""
    size: int = 60
    """How many questions."""


def main(args: Args) -> None:
    log = pd.read_parquet(require(Paths().committed_log("nano", "arith"), "run make nano-log"))
    rows = log[(log.split == "test") & (log["sample"] == 0) & log.prompt_id.isin(NAMES)]
    by_prompt = {name: rows[rows.prompt_id == name].iloc[: args.size] for name in NAMES}
    questions = by_prompt["nan"]
    prompts = {name: same.prompt.iloc[0] for name, same in by_prompt.items()}
    files = {
        **lm_eval_tasks(prompts, questions, str(args.out / "lm_eval/sums.jsonl")),
        "promptfooconfig.json": json.dumps(promptfoo_config(prompts, questions), indent=1),
        "sums.py": INSPECT_TASKS,
        "sums.json": json.dumps({name: inspect_rows(same) for name, same in by_prompt.items()}, indent=1),
    }
    for name, text in files.items():
        with atomic_write(args.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(
        f"{args.out}: {len(questions)} questions, {len(prompts)} prompts, for lm-eval, promptfoo and inspect"
    )


def lm_eval_tasks(prompts: dict[str, str], questions: pd.DataFrame, documents_at: str) -> dict[str, str]:
    """A task a prompt, and their documents: the number that is right among three. YAML reads JSON, too."""
    documents = [
        {"question": question, "numbers": sorted({gold, str(int(gold) + 1), f"{gold}0"}), "answer": gold}
        for question, gold in zip(questions.question, questions.gold)
    ]
    files = {"lm_eval/sums.jsonl": "".join(json.dumps(document) + "\n" for document in documents)}
    for name, text in prompts.items():
        task = {
            "task": f"sums_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": documents_at}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{question}}\n" + text.strip(),
            "doc_to_choice": "numbers",
            "doc_to_target": "{{numbers.index(answer)}}",
            "metric_list": [{"metric": "acc"}],
        }
        files[f"lm_eval/sums_{name}.yaml"] = json.dumps(task, indent=1)
    return files


def promptfoo_config(prompts: dict[str, str], questions: pd.DataFrame) -> dict[str, Any]:
    """Right is an answer that holds a word; the echo of each prompt holds one of these words."""
    words = [text.split()[-1] for text in prompts.values()]
    return {
        "prompts": [{"label": name, "raw": "{{question}}\n" + text} for name, text in prompts.items()],
        "providers": ["echo"],
        "tests": [
            {
                "vars": {"question": question},
                "assert": [
                    {"type": "contains", "value": words[i % len(words)]},
                    {"type": "latency", "threshold": 60_000},
                ],
            }
            for i, question in enumerate(questions.question)
        ],
    }


def inspect_rows(rows: pd.DataFrame) -> dict[str, Any]:
    """A prompt, and what the mock model answers."""
    columns = ["question", "gold", "answer", "tokens_in", "tokens_out"]
    return {"prompt": rows.prompt.iloc[0], "rows": json.loads(rows[columns].to_json(orient="records"))}


if __name__ == "__main__":
    run_step(main, Args)
