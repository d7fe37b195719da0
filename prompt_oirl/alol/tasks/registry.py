"""All tasks by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prompt_oirl.alol.tasks import arith_log, comet, hh, knowledge_dialogue, prompt_writer, reddit, toy
from prompt_oirl.alol.tasks.task import Task
from prompt_oirl.io.files import InputError

MADE_HERE = (toy.TASK, arith_log.TASK, prompt_writer.TASK)
PUBLISHED_TASKS = (hh.TASK, comet.TASK, *reddit.TASKS, *knowledge_dialogue.TASKS)
TASKS = {task.name: task for task in (*MADE_HERE, *PUBLISHED_TASKS)}


def get_task(name: str, data: Path = Path()) -> Task:
    """The task, rewarded by the reward models that a run keeps in its folder `data`."""
    # The published table scripts write some names in capitals.
    known = TASKS.get(name) or TASKS.get(name.lower())
    if known is None:
        raise InputError(f"--task_name {name}: unknown task, choose one of {', '.join(TASKS)}")
    return replace(known, data=data)
