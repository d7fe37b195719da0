"""The model card of a trained policy or reference: method, data, base model, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prompt_oirl.io.manifest import package_versions
from prompt_oirl.io.model_cards import escaped, table, write_card

SETTINGS: tuple[str, ...] = ("sampling_strategy", "ppo_clip", "kl_beta", "seed", "rows", "share_of_rows")
SETTINGS += ("steps", "best_step", "validation", "validation_of_reference")


def write_policy_card(
    folder: Path, about: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """Write README.md of a model's folder; no licence is guessed.

    Parameters
    ----------
    folder : model/ of a policy, or reference/
    about : what policy.json holds
    metrics : rows of step 5's metrics.csv; default: not measured yet
    """
    adapter = (folder / "adapter_config.json").is_file()
    base = str(about.get("base_model") or "")
    measured = table(
        ["metric", "segment", "value", "95 % interval", "n"],
        [
            (
                escaped(row["metric"]),
                escaped(row["segment"]),
                f"{row['value']:.4g}",
                "" if row["ci_low"] is None else f"{row['ci_low']:.4g} to {row['ci_high']:.4g}",
                f"{row['n']:,}",
            )
            for row in metrics
        ],
    )
    algorithm = escaped(str(about["algorithm"]))
    known = [name for name in SETTINGS if about.get(name) is not None]
    settings = [(name.replace("_", " "), _shown(about[name])) for name in known]
    return write_card(
        folder,
        {
            "base_model": base if "/" in base else None,
            "library_name": "peft" if adapter else "transformers",
            "pipeline_tag": "text-generation",
            "tags": ["prompt-oirl", "a-lol", str(about["algorithm"])],
        },
        f"{escaped(str(about['task']))}: {escaped(str(about['policy']))}",
        [
            f"A {'LoRA adapter' if adapter else 'causal language model'} trained offline by {algorithm} on "
            f"logged responses of the task {escaped(str(about['task']))} (Advantage-Leftover-Lunch RL, arXiv "
            "2305.14718, or one of its baselines).",
            "## Training",
            table(["", ""], [("base model", escaped(base)), *settings]),
            "The validation score chose the best update, so it is a little too good."
            * ("validation" in about),
            "## Measured",
            measured if metrics else "Nothing on test prompts yet; step 5 of A-LoL fills this in.",
            "## Use and limits",
            "For research on offline training. It imitates the better logged responses, with whatever is "
            "wrong in them; the reward that said which are better is a model or a rule itself. The base "
            "model's licence and limits hold.",
            f"Made with prompt-oirl {package_versions(['prompt-oirl']).get('prompt-oirl', '')}.",
        ],
    )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escaped(str(value))
