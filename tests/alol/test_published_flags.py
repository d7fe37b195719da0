"""The table of docs/a_lol.md: every flag of the published scripts is taken, or refused in one line."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tyro
from alol_steps import step

from prompt_oirl.alol.steps import published_flags
from prompt_oirl.io.files import REPO_ROOT, InputError

# What the published scripts accept (LoL-RL at 9f8d816).
HH = (
    "--model_name_or_path --adapter_path --optim --adam_beta1 --adam_beta2 --adam_epsilon --weight_decay "
    "--learning_rate --max_grad_norm --gradient_checkpointing --lr_scheduler_type --warmup_steps "
    "--per_device_train_batch_size --gradient_accumulation_steps --per_device_eval_batch_size --double_quant "
    "--quant_type --lora_alpha --lora_dropout --lora_r --max_memory_MB --max_prompt_length --max_length "
    "--num_train_epochs --max_steps --logging_steps --save_steps --eval_steps --output_dir --log_freq "
    "--sanity_check --report_to --ignore_bias_buffers --block_size --train_file_path --eval_file_path "
    "--training_stage_num"
)
VALUE = "--a2c_n_value_head_epochs --algorithm"
PUBLISHED = {
    "lolrl_qlora_llama_hh": f"{HH} {VALUE} --ppo_clip --kl_beta --sampling_strategy --cache_dir --seed",
    "dpo_qlora_llama_hh": f"{HH} --beta --cache_dir --reference_free --seed",
    "pro_qlora_llama_hh": f"{HH} --a2c_n_value_head_epochs --sampling_strategy --sft_weight --cache_dir "
    "--seed",
    "ppo_qlora_llama_hh": f"{HH} {VALUE} --ppo_clip --kl_beta --sampling_strategy --cache_dir --target_kl "
    "--batched_gen --total_steps --ppo_rollout_batch_size --ppo_epochs --seed",
    "ppo_hh_eval": f"{HH} {VALUE}",
    "qlora_llama_hh_eval": f"{HH} {VALUE}",
    "analyze_reward_value_advantage": "--train_file_path --eval_file_path --output_dir --cache_dir",
    "train_generation_task_with_off_policy_PG": "-i --input_dir -tn --task_name -s --save_dir -o "
    "--output_dir -cd --cache_dir -m --model_name -mt --model_tokenizer -algo --learning_algorithm -a2c_n "
    "--a2c_n_value_head_epochs -r --reward_function -c --ppo_clip -b --kl_beta -ts "
    "--train_sampling -but --baseline_update_threshold -cm --cola_classifier_model -esm "
    "--embedding_similarity_model -scm --sentiment_classification_model -dnlim --doc_nli_model -ccm "
    "--comet_critic_model -fcm --faithdial_critic_model -dcm --depth_dialogRPT_model -ucm "
    "--updown_dialogRPT_model -om --offensive_model_dir -t --train -bs --batch_size -as --accumulation_steps "
    "-ev_b --eval_in_beginning -v_bs --val_batch_size -vf --val_log_frequency -e --n_epochs -lr "
    "--learning_rate -ml --max_resp_length -seed --seed",
    "aggregate_generation_task_results": "-bmps --baseline_model_prefixes -tn --task_name -o --output_file",
    "preprocess_comet_and_add_rewards": "-i --input_dir -it --input_test_dir -o --output_dir -ccm "
    "--comet_critic_model -bs --batch_size",
    "preprocess_reddit_comment_scores_and_add_rewards": "-i --input_dir -o --output_dir -pd "
    "--plot_violin_distribution -m --model_name -cm --cola_classifier_model -dcm --depth_dialogRPT_model "
    "-ucm --updown_dialogRPT_model -om --offensive_model_dir -bs --batch_size",
    "preprocess_wow_and_add_rewards": "-i --input_task -o --output_dir -pd --plot_violin_distribution -m "
    "--model_name -cm --cola_classifier_model -fcm --faithdial_critic_model -dcm --depth_dialogRPT_model -bs "
    "--batch_size",
}
STEPS = {
    "1": "alol_step1_prepare_data",
    "2": "alol_step2_train_reference",
    "3": "alol_step3_estimate_advantage",
    "4": "alol_step4_train_policy",
    "4 baseline": "alol_step4_train_baseline",
    "5": "alol_step5_evaluate",
    "6": "alol_step6_aggregate",
}
BARE = "-t --train -ev_b --eval_in_beginning -ts --train_sampling --gradient_checkpointing --reference_free"
VALUES = {
    "--report_to": "tensorboard",
    "--lr_scheduler_type": "constant",
    "--sampling_strategy": "good_priority",
}
ALGORITHM = ("-algo", "--learning_algorithm", "--algorithm")
PAGE = (REPO_ROOT / "docs" / "a_lol.md").read_text()


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPO_ROOT / "alol_exps" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


def table() -> list[tuple[list[str], list[str], str]]:
    """Rows of the page: flags, the steps that take them, and what the others say."""
    body = PAGE.split("<!-- flags -->")[1].split("<!-- end -->")[0]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        for line in body.strip().split("\n")[2:]
    ]
    return [
        (re.findall(r"`([^`]+)`", flags), [] if steps == "none" else steps.split(", "), said.replace("`", ""))
        for flags, steps, said in rows
    ]


def test_every_published_flag_stands_in_the_table_once():
    listed = [flag for flags, _, _ in table() for flag in flags]
    published = {flag for flags in PUBLISHED.values() for flag in flags.split()}
    assert sorted(listed) == sorted(published) and len(listed) == len(set(listed))
    for script in PUBLISHED:
        assert f"`{script}.py`" in PAGE or f"python {script}.py" in PAGE, script


@pytest.mark.parametrize("number", STEPS)
def test_a_step_takes_the_flags_it_is_listed_with_and_refuses_the_others(number):
    arguments = module(STEPS[number]).Args
    for flags, steps, said in table():
        for flag in flags:
            value = [] if flag in BARE.split() else [VALUES.get(flag, "1")]
            if flag in ALGORITHM:
                value = ["dpo" if number == "4 baseline" else "nll"]
            if number not in steps:
                with pytest.raises(InputError) as refused:
                    published_flags.check_flags(arguments, [flag, *value])
                assert str(refused.value) == f"{flag}: {said}"
            else:
                published_flags.check_flags(arguments, [flag, *value])
                parsed = tyro.cli(arguments, args=[flag, *value], use_underscores=True)
                changed = [k for k, v in vars(parsed).items() if v != getattr(arguments(), k)]
                assert len(changed) <= 1 and (changed or flag in ALGORITHM), flag


def test_the_commands_of_the_page_parse():
    """Those in the right column of the table of commands, with something in the place of capitals."""
    body = PAGE.split("## The published commands")[1].split("What is as published")[0]
    qlora = re.search(r"`QLORA` is `([^`]+)`", body)
    assert qlora
    stand_ins = {"QLORA": qlora[1], "T": "wow", "A": "a_lol", "B": "0.1"}
    numbers, seen = {name: number for number, name in STEPS.items()}, set()
    for name, flags in re.findall(r"`python (alol_step\w+)\.py([^`]*)`", body):
        words = [stand_ins.get(word, word) for word in shlex.split(flags)]
        arguments, given = module(name).Args, " ".join(shlex.quote(word) for word in words)
        given = shlex.split(given.replace(shlex.quote(qlora[1]), qlora[1]))
        published_flags.check_flags(arguments, given)
        assert tyro.cli(arguments, args=given, use_underscores=True).task_name != "toy"
        seen.add(numbers[name])
    assert seen == set(STEPS)


def test_a_refusal_is_one_line_of_the_command(tmp_path):
    assert step(4, tmp_path, "--cache_dir=x", fails=True).startswith(
        "error: --cache_dir: every run has folders"
    )
    said = step(2, tmp_path, "-algo", "wbc", fails=True)
    assert said == "error: --algorithm wbc: this step trains by nll, step 4 by the others"


def test_published_spellings_mean_what_ours_mean(monkeypatch):
    """--reference_free, -bmps and -ts."""
    baseline, seen = module(STEPS["4 baseline"]), []
    monkeypatch.setattr(baseline, "train_and_save", lambda args, algorithm: seen.append(algorithm))
    baseline.main(baseline.Args(reference_free=True))
    assert seen[0].name == "dpo_ref_free"
    with pytest.raises(InputError, match="--reference_free is for dpo, not for pro"):
        baseline.main(baseline.Args(algorithm="pro", reference_free=True))
    tables = module(STEPS["6"])
    monkeypatch.setattr(tables.aggregation, "read_evaluations", lambda *_: [])
    monkeypatch.setattr(tables.aggregation, "levels", lambda _: [])
    monkeypatch.setattr(tables.aggregation, "differences", lambda _, names: seen.append(names) or [])
    monkeypatch.setattr(tables, "write_csv", lambda *_: None)
    tables.main(tables.Args(baseline_model_prefixes="{'dgpt_nll': True}", output_csv=Path("x.csv")))
    assert seen[1] == ["reference"]
