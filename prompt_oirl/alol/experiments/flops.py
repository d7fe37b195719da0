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
from prompt_oirl.alol.tasks.hh import PUBLISHED
from prompt_oirl.alol.tasks.task import Settings
from prompt_oirl.io.files import REPO_ROOT, write_csv
from prompt_oirl.reports.readme import fill_tables, markdown

# Architectures of the library transformers, so that nothing is fetched; LlamaConfig's own sizes are
# LLaMA-7B's.
POLICY: dict[str, Any] = {"model_type": "llama"}
REWARD_MODEL: dict[str, Any] = {  # Pythia-1.4B's body
    "model_type": "gpt_neox",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "vocab_size": 50_304,
}
ROWS = PUBLISHED.batch_size * PUBLISHED.accumulation  # of an update
TRAINING_ROWS = 280_000  # two responses to each of hh's about 140,000 dialogues after cleaning
DEV_PROMPTS = 280
GPUS = 8


@dataclass
class CostOptions:
    """Lengths of rows, and what the time and price of an operation are assumed to be."""

    prompt_tokens: int = 195
    """Tokens of a prompt: hh's dev prompts (mean 631 characters) and the preamble (145), 4 a token."""
    response_tokens: int = 77
    """Tokens of a response: hh's dev responses (mean 304 characters), and the end of text."""
    teraflops: float = 312.0
    """Peak of a GPU in 10^12 operations a second: an A100's in bfloat16."""
    utilisation: float = 0.35
    """Share of the peak that training and reading reach."""
    answering_utilisation: float = 0.05
    """Share of the peak while a model answers, one token after the other."""
    scaling: float = 0.9
    """Share of shared work of eight GPUs that is not lost to their talking."""
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
    """Rows of a step, each as often as that happens. Several processes share out what is read and learned;
    each of them does, or waits for, all that is read `alone`, and answered and rewarded."""

    name: str
    read: int = 0
    learned: int = 0
    alone: int = 0
    answered: int = 0


def published_work(settings: Settings) -> list[Work]:
    """Steps 3 and 4 and the baselines, as often as published settings say.

    Parameters
    ----------
    settings : of hh, with a number of updates and of PPO's rounds
    """
    updates, rounds = settings.steps, settings.ppo_rounds
    assert isinstance(updates, int) and rounds is not None
    rows, answers = updates * ROWS, rounds * settings.ppo_batches * ROWS
    validated = DEV_PROMPTS * (settings.validations + 1)  # the untrained model too
    return [
        # The value head learns from the states of the dev prompts, which are read once.
        Work("step 3: value and reference", 0, 0, TRAINING_ROWS + DEV_PROMPTS, DEV_PROMPTS),
        Work("step 4: each of the eight losses", 0, rows, 0, validated),
        Work("DPO", 2 * rows, 2 * rows, 0, validated),
        Work("DPO without reference", 0, 2 * rows, 0, validated),
        Work("PRO", 0, 2 * rows, 0, validated),
        # An answer is read by the policy that gave it and by the reference.
        Work("PPO", 0, settings.ppo_epochs * answers, 2 * answers, answers + validated),
    ]


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
    for work in published_work(PUBLISHED):
        shared = work.read * cost.read + work.learned * cost.learned
        alone = work.alone * cost.read + work.answered * cost.rewarded
        answering = work.answered * cost.read  # an answer costs what reading it costs
        hour = options.teraflops * 1e12 * 3600
        spread = shared / hour / options.utilisation
        rest = alone / hour / options.utilisation + answering / hour / options.answering_utilisation
        on_eight = spread / GPUS / options.scaling + rest
        row: dict[str, Any] = {"work": work.name, "read": work.read + work.alone, "learned": work.learned}
        row |= {"answered": work.answered, "exaflops": (shared + alone + answering) / 1e18}
        row |= {f"row_{name}_teraflops": value / 1e12 for name, value in vars(cost).items()}
        row |= {"peak_teraflops": options.teraflops, "dollars_per_hour": options.price}
        row |= {"hours_1_gpu": spread + rest, "dollars_1_gpu": (spread + rest) * options.price}
        row |= {"hours_8_gpus": on_eight, "dollars_8_gpus": GPUS * on_eight * options.price}
        found.append(row)
    return found


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The table of docs/larger.md."""
    header = ["work", "rows read", "learned", "answered", "10^18 operations"]
    header += ["hours, 1 GPU", "dollars", "hours, 8 GPUs", "dollars"]
    places = ("hours_1_gpu", "dollars_1_gpu", "hours_8_gpus", "dollars_8_gpus")
    body = [
        [row["work"], *(f"{row[name]:,}" for name in ("read", "learned", "answered"))]
        + [f"{row[name]:,.{1 if row[name] < 10 else 0}f}" for name in ("exaflops", *places)]
        for row in rows
    ]
    return markdown(header, body)


def write_costs(options: CostOptions) -> None:
    """results/reference/alol_flops.csv and the table of docs/larger.md."""
    cost = count_row(
        POLICY, REWARD_MODEL, PUBLISHED.lora_rank, options.prompt_tokens, options.response_tokens
    )
    rows = cost_rows(cost, options)
    for name, value in vars(cost).items():
        print(f"one row, {name}: {value / 1e12:.3f} x 10^12 operations")
    write_csv(options.root / "results" / "reference" / "alol_flops.csv", rows)
    table = render(rows)
    print(table, end="")
    fill_tables(options.root, {"alol_flops": table})
