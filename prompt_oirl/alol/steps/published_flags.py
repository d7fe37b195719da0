"""Flags of the published scripts that a step of ours does not take, each with what to do instead.

docs/a_lol.md has the whole table; a test walks it. A flag is refused by the steps that do not have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_type_hints

from prompt_oirl.io.files import InputError
from prompt_oirl.io.manifest import run_step

_TRAINING = (
    "--per_device_train_batch_size -as --accumulation_steps --gradient_accumulation_steps "
    "-e --n_epochs --num_train_epochs --max_steps -lr --learning_rate --lr_scheduler_type --warmup_steps "
    "--weight_decay --max_grad_norm --lora_r --lora_alpha --lora_dropout --gradient_checkpointing "
    "--save_steps --eval_steps --report_to -vf --val_log_frequency -t --train -ev_b --eval_in_beginning"
)
_MODELS = {
    "fluency": "-cm --cola_classifier_model",
    "p_valid_model": "-ccm --comet_critic_model",
    "faithdial": "-fcm --faithdial_critic_model",
    "depth": "-dcm --depth_dialogRPT_model",
    "updown": "-ucm --updown_dialogRPT_model",
    "safe": "-om --offensive_model_dir",
}
_INSTEAD = {
    "steps 2 and 4 train: give it to them": _TRAINING,
    "steps 2 and 4 train: give it to them; rewards are read 32 at a time": "-bs --batch_size",
    "it is for alol_step4_train_policy.py": (
        "--ppo_clip -c --kl_beta -b --sampling_strategy -ts --train_sampling"
    ),
    "it is for alol_step4_train_baseline.py": "--beta --reference_free --total_steps",
    "step 4 chooses the algorithm": "-algo --learning_algorithm --algorithm",
    "step 3 trains the value head: give it to that": "-a2c_n --a2c_n_value_head_epochs",
    "step 1 reads the raw files: give it --input_dir FOLDER": (
        "-i --input_dir -it --input_test_dir --train_file_path --eval_file_path"
    ),
    "pass --task_name": "--input_task",
    "step 6 reads what step 5 wrote: leave it out": (
        "-m --model_name --model_name_or_path -v_bs --val_batch_size "
        "--per_device_eval_batch_size -seed --seed"
    ),
    "steps 2 to 5 load the model: give it to them": "--adapter_path",
    "steps 2 to 5 cut texts: give it to them": "--max_prompt_length -ml --max_resp_length",
    "every run has folders of its own, pass --run; --output_dir is for step 5, -o for step 6": (
        "-s --save_dir -o --output_dir --output_file -cd --cache_dir"
    ),
    "it is for step 6": "-bmps --baseline_model_prefixes",
    "the tokenizer comes with the model: leave it out": "-mt --model_tokenizer",
    "AdamW is the one optimiser, with betas .9 and .999 and the task's epsilon: leave it out": (
        "--optim --adam_beta1 --adam_beta2 --adam_epsilon"
    ),
    "4-bit weights are NF4, quantised twice: pass --load_in_4bit alone": "--double_quant --quant_type",
    "leave it out; --load_in_4bit and --gradient_checkpointing save memory": "--max_memory_MB",
    "pass --max_prompt_length and --max_response_length": "--max_length",
    "every update is a line of curve.csv: leave it out": "--logging_steps --log_freq",
    "try it with --max_steps 2 instead": "--sanity_check",
    "the published scripts do not read it either: leave it out": (
        "--ignore_bias_buffers --block_size --training_stage_num --batched_gen -r --reward_function"
    ),
    "pass --batch_size and --accumulation, whose product is the number of answers": (
        "--ppo_rollout_batch_size"
    ),
    "the task sets it (hh: 4, as published): leave it out": "--ppo_epochs",
    "no update stops early, as published: leave it out": "--target_kl",
    "it is 0.05, as published: leave it out": "--sft_weight",
    "the reference stays what it is; a policy becomes one in a run of its own, by -m": (
        "-but --baseline_update_threshold"
    ),
    "it rewards tasks that are not here: leave it out": (
        "-esm --embedding_similarity_model -scm --sentiment_classification_model -dnlim --doc_nli_model"
    ),
    "no distributions are drawn: leave it out": "-pd --plot_violin_distribution",
    **{f"pass --reward_models {name}=MODEL to step 1": flags for name, flags in _MODELS.items()},
}
REFUSED = {flag: instead for instead, flags in _INSTEAD.items() for flag in flags.split()}


def spellings(arguments: type) -> set[str]:
    """All flags of a step, in every spelling.

    Parameters
    ----------
    arguments : the dataclass of its flags
    """
    found = set()
    for name, hint in get_type_hints(arguments, include_extras=True).items():
        found.add(f"--{name}")
        for note in getattr(hint, "__metadata__", ()):
            found.update(getattr(note, "aliases", None) or ())
    return found


def check_flags(arguments: type, given: Sequence[str]) -> None:
    """Refuse published flags that a step does not have.

    Parameters
    ----------
    arguments : the dataclass of its flags
    given : the command line

    Raises: InputError that says what to do instead.
    """
    names = [word.split("=")[0] for word in given]
    taken = spellings(arguments)
    for name in names:
        if name in REFUSED and name not in taken:
            raise InputError(f"{name}: {REFUSED[name]}")


def run(main: Any, arguments: type) -> None:
    """Run a step script: `run_step`, which refuses published flags in one line."""
    run_step(main, arguments, check_flags)
