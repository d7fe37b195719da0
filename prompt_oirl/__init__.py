"""Pick, propose and train prompts for language models from the log of what already worked.

    from prompt_oirl import PromptSelector, diagnose, evaluate, read_log, vote

`diagnose` says whether choosing a prompt per question is worth it on a log, `PromptSelector` learns to
choose, `evaluate` measures what that gains, and `vote` what several answers would. Each name is imported
when it is first used, so that `import prompt_oirl` is quick.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prompt_oirl.data.user_log import read_log
    from prompt_oirl.selection.diagnosis import Diagnosis, diagnose
    from prompt_oirl.selection.evaluate import evaluate
    from prompt_oirl.selection.evaluation_tables import Evaluation
    from prompt_oirl.selection.selector import PromptSelector
    from prompt_oirl.selection.vote_result import VoteResult
    from prompt_oirl.selection.voting import vote

__version__ = "0.1.0"
__all__ = [
    "Diagnosis",
    "Evaluation",
    "PromptSelector",
    "VoteResult",
    "__version__",
    "diagnose",
    "evaluate",
    "read_log",
    "vote",
]

_MODULES = {
    "Diagnosis": "selection.diagnosis",
    "Evaluation": "selection.evaluation_tables",
    "PromptSelector": "selection.selector",
    "VoteResult": "selection.vote_result",
    "diagnose": "selection.diagnosis",
    "evaluate": "selection.evaluate",
    "read_log": "data.user_log",
    "vote": "selection.voting",
}

# transformers imports it wherever it is installed, and it complains of a kernel that no step here needs.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
