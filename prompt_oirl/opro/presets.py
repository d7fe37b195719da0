"""--preset: the published settings as defaults of step 1; flags that are given win."""

from __future__ import annotations

from typing import Any, Literal

from prompt_oirl.llms.options import ModelOptions
from prompt_oirl.opro.loop import LoopSettings
from prompt_oirl.opro.meta_prompt import MetaPromptSettings

Preset = Literal["paper", "paper-pretrained"]
TRAIN_SHARE = {"gsm8k": 0.035}  # of its 7,473 training questions
BBH_SHARE = 0.2  # of all questions; MMLU's published split leaves none for test, so it has this one too


def published(preset: str, task: str) -> dict[str, Any]:
    """Defaults of step 1 under a preset.

    The published loop has no validation part: the best instruction on train wins. What the code leaves open,
    tokens for question and answer together, is ours, and so is the grader.

    Parameters
    ----------
    preset : paper (instruction-tuned scorer and optimizer) or paper-pretrained (PaLM 2-L as scorer)
    task : value of --task, which decides the share of training questions

    Source: OPRO, Section 5.1 and Appendix B; google-deepmind/opro, optimize_instructions.py and issue 3.
    """
    pretrained = preset == "paper-pretrained"
    return {
        "loop": LoopSettings(steps=200, samples=8, temperature=1.0),
        "meta": MetaPromptSettings(
            threshold=0.01 if pretrained else 0.3, max_pairs=20, buckets="100", exemplars=3
        ),
        "train_size": TRAIN_SHARE.get(task, BBH_SHARE),
        "validation_size": 0,
        "test_size": 1.0,
        "max_gen_len": 256 if pretrained else 1024,
        "second_round": pretrained,
        "position": "answer_start" if pretrained else "before",
        "temperature": 0.0,
        "optimizer_max_gen_len": 512,
        "optimizer_top_p": 1.0,
        "scorer": ModelOptions(max_seq_len=2048),
    }
