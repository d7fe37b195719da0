"""The model card of a saved selector: what it was fitted on, whether choosing pays there, what it is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.io.manifest import package_versions
from prompt_oirl.io.model_cards import escaped, table, write_card
from prompt_oirl.reward_models.study import Study
from prompt_oirl.selection.log_facts import too_little
from prompt_oirl.selection.verdict import decide_verdict

if TYPE_CHECKING:
    from prompt_oirl.selection.selector import PromptSelector

MOST_PROMPTS = 50  # that a card lists
LIMITS = (
    "Learned from logged answers of one LLM (or those named above): with another LLM, other questions or "
    "other prompts the choices may be worth nothing. Predicted probabilities are no promise for a single "
    "question. A prompt that the log lacks is scored by its likeness to logged ones, which is a guess."
)


@dataclass(frozen=True)
class FittedOn:
    """How much a selector learned from, and what its log says about choosing; None where that is not known.

    verdict, reason : as of `diagnose`, cross-fitted gain and interval within
    chooses : whether it chooses per question at all
    """

    questions: int | None = None
    groups: int | None = None
    answers: int | None = None
    verdict: str | None = None
    reason: str | None = None
    chooses: bool | None = None

    @classmethod
    def of(cls, log: PromptLog, study: Study | None) -> FittedOn:
        """Facts of a log, and of the study that the fit made of it, if it did."""
        groups = len(np.unique(log.groups))
        size = len(log.questions), groups, len(log.correct)
        if reason := too_little(log):
            return cls(*size, "not enough data", f"{reason[:1].upper()}{reason[1:]}.", False)
        if study is None or study.gain is None:
            return cls(*size)
        found = decide_verdict(study, groups)
        return cls(*size, found.word, found.reason, study.supported)

    def sentence(self) -> str:
        """What choosing per question brings, in words."""
        if self.verdict is None or self.reason is None:
            return (
                "**Not known.** Whether choosing per question gains anything was not measured when this was "
                "fitted; `prompt-oirl diagnose LOG` and `prompt-oirl evaluate LOG` say it."
            )
        word = "Worth it" if self.verdict == "worth it" else f"No gain is shown ({escaped(self.verdict)})"
        alone = "" if self.chooses else " Every question gets the prompt that is best overall."
        return f"**{word}.** {escaped(self.reason, 1000)}{alone}"


def write_selector_card(selector: PromptSelector, folder: Path) -> Path:
    """Write README.md of a saved selector.

    Parameters
    ----------
    selector : fitted
    folder : where it is saved
    """
    fitted_on, info = selector.fitted_on_, selector.embedder_.info
    numbers = [
        *(
            (n, f"{v:,}")
            for n in ("questions", "groups", "answers")
            if (v := getattr(fitted_on, n)) is not None
        ),
        ("prompts", f"{len(selector.prompts_):,}"),
    ]
    if selector.llms_ is not None:
        numbers.append(("LLMs", ", ".join(escaped(name) for name in dict.fromkeys(selector.llms_))))
    numbers += [
        ("embedder", escaped(f"{info.name} ({info.revision})")),
        ("reward model", escaped(selector.model_name_)),
        ("cost weight", f"{float(selector.cost_weight):g}"),
    ]
    own = "" if isinstance(selector.embedder, str) else ", embedder=the_same_embedder"
    listed = list(zip(selector.names_, selector.success_, selector.prompts_))[:MOST_PROMPTS]
    left_out = len(selector.prompts_) - len(listed)
    return write_card(
        folder,
        {"library_name": "prompt-oirl", "tags": ["prompt-oirl", "prompt-selection"]},
        "Prompt selector",
        [
            f"Chooses one of {len(selector.prompts_):,} prompts for each question, learned offline from "
            "logged answers (Prompt-OIRL, arXiv 2309.06553).",
            "## Does choosing per question gain anything?",
            fitted_on.sentence(),
            "## Fitted on",
            table(["", ""], numbers),
            "## Prompts",
            table(
                ["name", "right in the log", "text"],
                [(escaped(n, 60), f"{100 * s:.1f} %", escaped(t) or "(no prompt)") for n, s, t in listed],
            ),
            f"{left_out:,} more are in selector.json." if left_out else "",
            "## Use",
            "```python\nfrom prompt_oirl import PromptSelector\n\n"
            f'selector = PromptSelector.load("FOLDER OR owner/name"{own})\n'
            'print(selector.select(["a question", "another one"]))\n```',
            "Meant for choosing among these prompts before the LLM is asked. The folder holds no code; "
            "`load` refuses files that are not those selector.json names. Nothing reads this card, and "
            "nothing checks it.",
            "## Limits",
            LIMITS,
            f"Made with prompt-oirl {package_versions(['prompt-oirl']).get('prompt-oirl', '')}.",
        ],
    )
