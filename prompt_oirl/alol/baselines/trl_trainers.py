"""TRL's trainers on the token ids of our own rows.

Left to themselves, they put BOS before a prompt or not as each of them likes, add an end of text to responses
that were cut off, and cut prompt and response together. Here they get the ids, and baselines see what
policies see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prompt_oirl.alol.baselines.runs import Pair
from prompt_oirl.alol.models.log_probabilities import Tokens


def pair_dataset(tokens: Sequence[Tokens], pairs: Sequence[Pair]) -> Any:
    """A dataset of pairs as token ids: prompt_ids, chosen_ids, rejected_ids.

    Parameters
    ----------
    tokens : n rows
    pairs : of row numbers
    """
    from datasets import Dataset

    ids = [(tokens[p.chosen].prompt, tokens[p.chosen].response, tokens[p.rejected].response) for p in pairs]
    return Dataset.from_list([dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), row)) for row in ids])


def dpo_trainer() -> Any:
    """TRL's DPOTrainer for a `pair_dataset`."""
    from trl import DPOTrainer

    class DPOOnIds(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    return DPOOnIds


def cpo_trainer() -> Any:
    """TRL's CPOTrainer for a `pair_dataset`."""
    from trl.experimental.cpo import CPOTrainer

    class CPOOnIds(CPOTrainer):
        def tokenize_row(self, feature: dict[str, list[int]], model: Any = None) -> dict[str, list[int]]:
            prompt = feature["prompt_ids"]
            row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
            for side in ("chosen", "rejected"):
                said = feature[f"{side}_ids"]
                row[f"{side}_input_ids"] = prompt + said
                row[f"{side}_attention_mask"] = [1] * len(prompt + said)
                row[f"{side}_labels"] = [-100] * len(prompt) + said
            return row

    return CPOOnIds


def rloo_trainer(ids: dict[str, list[int]]) -> Any:
    """TRL's RLOOTrainer that reads each prompt as the token ids given for its text.

    Parameters
    ----------
    ids : of every prompt of the dataset
    """
    from trl import RLOOTrainer

    class RLOOOnIds(RLOOTrainer):
        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return [ids[prompt] for prompt in prompts], None, {}

    return RLOOOnIds
