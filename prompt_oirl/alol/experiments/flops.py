"""What A-LoL and its baselines cost on hh at the published sizes, computed and not run: floating point
operations of one row, counted by torch on a model without weights, times the rows of the published runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prompt_oirl.alol.models.adapters import make_trainable
from prompt_oirl.alol.models.log_probabilities import Tokens, collate, recomputing, token_log_probs
from prompt_oirl.alol.rows import check_at_least
from prompt_oirl.io.files import REPO_ROOT, write_csv
from prompt_oirl.reports.readme import fill_tables, markdown

# Architectures of the library transformers, so that nothing is fetched. LlamaConfig's own sizes are LLaMA-7B's.
POLICY: dict[str, Any] = {"model_type": "llama"}
REWARD_MODEL: dict[str, Any] = {  # Pythia-1.4B's body
    "model_type": "gpt_neox",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "vocab_size": 50_304,
}
LORA_RANK = 64
UPDATES, ROWS = 9000, 16  # published: batches of 4 (pairs of 2), accumulated to 16
PPO_UPDATES, PPO_EPOCHS = 6000, 4
DEV_PROMPTS, VALIDATIONS, HEAD_EPOCHS = 280, 11, 10  # every 900 updates and before the first


@dataclass
class CostOptions:
    """Lengths of rows, and what the time and price of an operation are assumed to be."""

    prompt_tokens: int = 190
    """Tokens of a prompt: hh's dev prompts (604 characters, 4 a token) and the preamble."""
    response_tokens: int = 64
    """Tokens of a response: hh's dev responses (252 characters, 4 a token)."""
    teraflops: float = 312.0
    """Peak of a GPU in 10^12 operations a second: an A100's in bfloat16."""
    utilisation: float = 0.35
    """Share of the peak that training and reading reach."""
    answering_utilisation: float = 0.05
    """Share of the peak while a model answers, one token after the other."""
    scaling: float = 0.9
    """Share of eight GPUs' work that is not lost to their talking."""
    price: float = 2.0
    """Dollars per GPU-hour."""
    root: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


@dataclass(frozen=True)
class RowCost:
    """Operations on one row: read by the policy, learned by LoRA with activations computed twice, read by the
    reward model."""

    read: float
    learned: float
    rewarded: float


@dataclass(frozen=True)
class Work:
    """Rows that a step reads, learns, answers and has rewarded, each as often as it happens."""

    name: str
    read: int = 0
    learned: int = 0
    answered: int = 0

    def flops(self, cost: RowCost) -> tuple[float, float]:
        """Operations of reading and learning, and of answering: an answer's tokens cost what reading costs."""
        rewarded = self.answered * cost.rewarded
        return self.read * cost.read + self.learned * cost.learned + rewarded, self.answered * cost.read


VALIDATED = DEV_PROMPTS * VALIDATIONS
WORK = (
    # The value head learns from prompt states of one answer to each dev prompt, read anew in every epoch.
    Work("step 3: values and reference", UPDATES * ROWS + HEAD_EPOCHS * DEV_PROMPTS, 0, DEV_PROMPTS),
    Work("step 4: each of the eight losses", 0, UPDATES * ROWS, VALIDATED),
    Work("DPO", 2 * UPDATES * ROWS, 2 * UPDATES * ROWS, VALIDATED),
    Work("DPO without reference", 0, 2 * UPDATES * ROWS, VALIDATED),
    Work("PRO", 0, 2 * UPDATES * ROWS, VALIDATED),
    # An answer is read once by the policy that gave it and once by the reference.
    Work(
        "PPO",
        2 * PPO_UPDATES * ROWS,
        PPO_EPOCHS * PPO_UPDATES * ROWS,
        PPO_UPDATES * ROWS + DEV_PROMPTS * (PPO_UPDATES // 100 + 1),
    ),
)


def count_row(
    policy: dict[str, Any], reward_model: dict[str, Any], rank: int, prompt: int, response: int
) -> RowCost:
    """Operations on one row, as `torch.utils.flop_counter` counts matrix products (two a weight and token).

    Parameters
    ----------
    policy, reward_model : fields of a config of the library transformers
    rank : of the policy's LoRA adapter, which alone is learned
    prompt, response : tokens
    """
    from torch.utils.flop_counter import FlopCounterMode

    batch = collate([Tokens([1] * prompt, [1] * response)], 0, "meta")

    def reading(model: Any) -> float:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            token_log_probs(model, batch)
        return counter.get_total_flops()

    rewarded = reading(_without_weights(reward_model))
    model = _without_weights(policy)
    read = reading(model)
    with torch.device("meta"):
        model = make_trainable(model, "lora", rank, float(rank))
    with FlopCounterMode(display=False) as counter:
        with recomputing(model, True):
            log_probs = token_log_probs(model, batch)
        log_probs.sum().backward()
    return RowCost(read, counter.get_total_flops(), rewarded)


def _without_weights(config: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    # Fused attention looks at the mask's values, and there are none.
    with torch.device("meta"):
        made = AutoConfig.for_model(**config)
        return AutoModelForCausalLM.from_config(made, attn_implementation="eager").eval()


def cost_rows(cost: RowCost, options: CostOptions) -> list[dict[str, Any]]:
    """Operations, hours and dollars of every step and baseline, on one GPU and on eight.

    Parameters
    ----------
    cost : of one row
    options : what is assumed

    Raises: InputError on an assumption that is not above 0.
    """
    check_at_least(1e-9, **{n: v for n, v in vars(options).items() if isinstance(v, int | float)})
    found = []
    for work in WORK:
        dense, answering = work.flops(cost)
        peak = options.teraflops * 1e12 * 3600
        hours = dense / peak / options.utilisation + answering / peak / options.answering_utilisation
        row: dict[str, Any] = {"work": work.name, "read": work.read, "learned": work.learned}
        row |= {"answered": work.answered, "exaflops": (dense + answering) / 1e18}
        row |= {"hours_1_gpu": hours, "dollars_1_gpu": hours * options.price}
        row |= {"hours_8_gpus": hours / 8 / options.scaling}
        found.append(row | {"dollars_8_gpus": hours / options.scaling * options.price})
    return found


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The table of docs/larger.md."""
    header = ["work", "rows read", "learned", "answered", "10^18 operations"]
    header += ["hours, 1 GPU", "dollars", "hours, 8 GPUs", "dollars"]
    places = ("hours_1_gpu", "dollars_1_gpu", "hours_8_gpus", "dollars_8_gpus")
    body = [
        [row["work"], *(f"{row[name]:,}" for name in ("read", "learned", "answered"))]
        + [f"{row['exaflops']:,.0f}", *(f"{row[name]:,.{1 if row[name] < 10 else 0}f}" for name in places)]
        for row in rows
    ]
    return markdown(header, body)


def write_costs(options: CostOptions) -> None:
    """results/reference/alol_flops.csv and the table of docs/larger.md."""
    cost = count_row(POLICY, REWARD_MODEL, LORA_RANK, options.prompt_tokens, options.response_tokens)
    rows = cost_rows(cost, options)
    for name, value in vars(cost).items():
        print(f"one row, {name}: {value / 1e12:.3f} x 10^12 operations")
    write_csv(options.root / "results" / "reference" / "alol_flops.csv", rows)
    table = render(rows)
    print(table, end="")
    fill_tables(options.root, {"alol_flops": table})
