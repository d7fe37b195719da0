"""The plan of `prompt-oirl plan` as items that step 1 asks: exactly the cells that it names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.tables import cell_text, checked_columns, numbers, read_table, texts
from prompt_oirl.llms.generation import Item

HINT = "write it with prompt-oirl plan"


def planned_items(
    path: Path, questions: Sequence[Question], prompts: Sequence[Prompt], llm: str
) -> list[Item]:
    """What a plan asks of one LLM, in the plan's order; rows for other LLMs are left out.

    Parameters
    ----------
    path : the plan: columns question and prompt, and optionally position, llm and sample (0 where missing)
    questions, prompts : what there is to ask; rows are joined by the texts, prompts also by their position
    llm : name of the log that the answers join

    Raises: InputError at a row whose question or prompt is not among these, and without a row for the LLM.
    """
    where = f"{path}:"
    plan = checked_columns(read_table(path, HINT), ["question", "prompt"], str(path), HINT)
    llms = [cell_text(cell) for cell in plan["llm"]] if "llm" in plan else [""] * len(plan)
    plan = plan[[name in ("", llm) for name in llms]]
    if not len(plan):
        raise InputError(f"{path}: no row is for the LLM {llm!r}: name it with --llm, or plan again")
    sample = [0.0] * len(plan) if "sample" not in plan else numbers(plan, "sample", where, 0, 10**6).tolist()
    position = [cell_text(c) for c in plan["position"]] if "position" in plan else [""] * len(plan)
    of_text: dict[str, Question] = {}
    for question in questions:
        of_text.setdefault(question.text, question)
    items: dict[tuple[str, str, int], Item] = {}
    rows = zip(plan.index, texts(plan, "question", where), texts(plan, "prompt", where), position, sample)
    for number, text, prompt_text, place, n in rows:
        row_is, asked = f"{where}{number}", of_text.get(text)
        found = [p for p in prompts if p.text == prompt_text and place in ("", p.position)]
        if asked is None:
            raise InputError(
                f"{row_is}: the question {on_one_line(text)!r} has no gold answer here: name its file "
                "with --questions, and its --split"
            )
        if not found:
            raise InputError(
                f"{row_is}: the prompt {on_one_line(prompt_text)!r} is not in the file of prompts: name "
                "its file with --prompts"
            )
        if asked.split == "train" and found[0].role != "train":
            raise InputError(
                f"{row_is}: prompt {found[0].id} is held out, so it is not asked on training questions: "
                "make its role train, or plan without it"
            )
        if n != n or n != int(n):
            raise InputError(f"{row_is}: sample is not a whole number; {HINT}")
        item = Item(asked, found[0], int(n))
        items.setdefault(item.key, item)
    return list(items.values())
