"""The published tasks from raw files of their formats, tiny reward models in the published formats; real hh
rows where they lie; prompt_writer from a small log."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_reward_models as tiny
import torch
from alol_steps import call, step, with_chat_template
from conftest import mirror_folder, tiny_interactions

from prompt_oirl.alol.evaluation import best_of_n
from prompt_oirl.alol.rewards import log_reward
from prompt_oirl.alol.rows import EXPECTED, FINAL, Row, read_rows
from prompt_oirl.alol.steps.options import RunOptions
from prompt_oirl.alol.tasks import comet, hh, knowledge_dialogue, prompt_writer, reddit, toy
from prompt_oirl.alol.tasks.registry import TASKS, get_task
from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT, InputError, read_csv

END = tiny.END
WORDS = tiny.WORDS


def said(rng: np.random.Generator, n: int = 6) -> str:
    return " ".join(rng.choice(WORDS, n))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a reward model, and `base`, a tiny GPT-2 to train."""
    from transformers import GPT2LMHeadModel

    root = tmp_path_factory.mktemp("models")
    tiny.classifier(root / "fluency", 1)
    tiny.classifier(root / "faithdial", 2, as_bin=True)
    tiny.classifier(root / "depth", 3, gpt2=True)
    tiny.classifier(root / "updown", 4, gpt2=True)
    tiny.toxichat(root / "safe")
    tiny.open_assistant(root / "preference")
    tiny.open_assistant(root / "larger", "mean")
    model, head = tiny.critic(root / "p_valid_model")
    from prompt_oirl.alol.models.checkpoints import write_tensors

    write_tensors(root / "p_valid_model" / "head.safetensors", head, {})
    torch.manual_seed(0)
    tiny.tokenizer(root / "base", roberta=False)
    GPT2LMHeadModel(tiny.gpt2_config()).save_pretrained(root / "base")
    return root


def flag(models: Path, *names: str) -> str:
    return ",".join(f"{name}={models / name}" for name in names)


def write_hh(folder: Path, n: int = 12) -> None:
    rng = np.random.default_rng(0)

    def line(i: int, spoiled: bool = False) -> str:
        turns = [
            f"<|prompter|>{said(rng)}",
            f"<|assistant|>{said(rng)}",
            f"<|prompter|>{said(rng)}",
            "<|assistant|>",
        ]
        answers = [said(rng), said(rng) + (":" if spoiled else "")]
        path = {"path": "raw/helpful-online/dev.jsonl"}
        return json.dumps(
            {"prefix": [turns, turns], "suffix": answers, "reward": [0.5, -2.0], "sft_index": 0, "meta": path}
        )

    for name, lines in ((hh.TRAIN, n), (hh.VALIDATION, 6), (hh.TESTS[0], 5), (hh.TESTS[2], 4)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(line(i, name == hh.TRAIN and i == 3) + "\n" for i in range(lines)))


def write_reddit(folder: Path, n: int = 40) -> None:
    import csv

    rng = np.random.default_rng(1)
    (folder / "reddit_comment_scores").mkdir(parents=True)
    for kind, name in reddit.FILES.items():
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text", "score", "parent_text", "parent_score", "author"])
            for i in range(n):
                text = f"see https://example.org/{i} \n\n {said(rng)}" if i == 5 else said(rng)
                text = " ".join(["go"] * 101) if i == 6 else "" if i == 7 else text
                parent = "the city is big" if i % 10 == 0 else said(rng)
                writer.writerow(
                    [f"{kind[0]}{i}", text, 70 if kind == "positive" else -9, parent, 3, "someone"]
                )


def write_dialogues(folder: Path) -> None:
    rng = np.random.default_rng(2)

    def wow(n: int) -> list[dict[str, Any]]:
        turns = [
            {
                "speaker": "0_Wizard",
                "text": said(rng),
                "checked_sentence": {"k": said(rng)},
            },  # nothing said before
            {"speaker": "1_Apprentice", "text": said(rng)},
            {"speaker": "0_Wizard", "text": said(rng), "checked_sentence": {"k": said(rng)}},
            {"speaker": "1_Apprentice", "text": said(rng)},
            {"speaker": "0_Wizard", "text": said(rng), "checked_sentence": {"none": "no_passages_used"}},
            {"speaker": "0_Wizard", "text": said(rng), "checked_sentence": {}},
        ]
        return [{"chosen_topic": "x", "dialog": [dict(t, text=said(rng)) for t in turns]} for _ in range(n)]

    (folder / "wizard_of_wikipedia").mkdir(parents=True)
    with tarfile.open(folder / knowledge_dialogue.WOW, "w:gz") as archive:
        for split, name in knowledge_dialogue.WOW_SPLITS.items():
            body = json.dumps(wow(12 if split == "train" else 5)).encode()
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    (folder / "FaithDial").mkdir()
    for split, name in knowledge_dialogue.FAITHDIAL.items():
        turns = lambda: [  # noqa: E731
            {
                "history": [said(rng)],
                "knowledge": said(rng),
                "response": said(rng),
                "original_response": None,
                "BEGIN": [],
            },
            {"history": [said(rng, 30) for _ in range(20)], "knowledge": said(rng), "response": said(rng)},
        ]
        dialogues = [{"dialog_idx": i, "utterances": turns()} for i in range(6 if split == "train" else 4)]
        (folder / name).write_text(json.dumps(dialogues))


def write_comet(folder: Path) -> None:
    rng = np.random.default_rng(3)
    (folder / "symbolic_knowledge_distillation").mkdir(parents=True)
    (folder / "atomic2020").mkdir()
    relations = list(comet.RELATIONS)
    lines = []
    for i in range(30):
        split = "train" if i < 20 else "val" if i < 26 else "test"
        line = {
            "head": f"PersonX {said(rng)}",
            "relation": relations[i % 7],
            "tail": said(rng, 3),
            "split": split,
        }
        lines.append(line | {"rec_0.5": True, "p_valid_model": float(rng.random())})
    (folder / comet.ATOMIC10X).write_text("".join(json.dumps(line) + "\n" for line in lines))
    tails = [("PersonX goes home", r, said(rng, 3)) for r in relations[:2] for _ in range(4)]
    others = [("PersonX goes home", "ObjectUse", "it"), ("PersonY feels sad", "xWant", "home")]
    (folder / comet.ATOMIC2020).write_text("".join("\t".join(t) + "\n" for t in [*tails, *others]))


CASES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "hh": (write_hh, ("preference",)),
    "comet": (write_comet, ("p_valid_model",)),
    "reddit_pos": (write_reddit, ("fluency", "depth", "updown", "safe")),
    "reddit_neg": (write_reddit, ("fluency", "depth", "updown", "safe")),
    "wow": (write_dialogues, ("fluency", "faithdial", "depth")),
    "faithdial": (write_dialogues, ("fluency", "faithdial", "depth")),
    "faithdial_wow": (write_dialogues, ("fluency", "faithdial", "depth")),
}


@pytest.mark.parametrize("task", CASES)
def test_step_1_prepares_every_published_task(tmp_path, models, task, capsys):
    writer, names = CASES[task]
    writer(tmp_path / "raw")
    flags: dict[str, Any] = {
        "task_name": task,
        "input_dir": tmp_path / "raw",
        "reward_models": flag(models, *names),
    }
    needs_tokenizer = {} if task in ("hh", "comet") else {"model_name_or_path": str(models / "base")}
    call(1, tmp_path, **flags, **needs_tokenizer)
    printed = capsys.readouterr().out
    assert "rows in" in printed
    options = RunOptions(task_name=task, root=tmp_path)
    splits = {split: options.rows(split) for split in ("train", "validation", "test")}
    components = {*names, "tfidf"} if task not in ("hh", "comet") else set(names)
    for rows in splits.values():
        for row in rows:
            assert set(row.components) == components | {FINAL}
            parts = [v for name, v in row.components.items() if name != FINAL]
            assert row.reward == pytest.approx(sum(parts)) and all(0 <= v <= 1 for v in parts)
    held = {row.prompt for split in ("validation", "test") for row in splits[split]}
    assert not held & {row.prompt for row in splits["train"]}
    # The rewards of a run's later steps are those of its step 1: scoring a logged response again gives its
    # reward.
    if task != "hh":
        row = splits["test"][0]
        again = options.task.reward([row, row], [row.response, ""])
        assert again[0][FINAL] == pytest.approx(row.reward, abs=1e-5) and again[1][FINAL] == 0
    check = globals().get(f"check_{task.split('_')[0]}")
    if check:
        check(splits)
    call(1, tmp_path, **flags, **needs_tokenizer)
    assert "up to date" in capsys.readouterr().out


def check_hh(splits: dict[str, list[Row]]) -> None:
    assert (
        len(splits["train"]) == 22 and sum(row.chosen for row in splits["train"]) == 11
    )  # one line was broken off
    row = splits["train"][0]
    assert row.prompt.startswith("A chat between a curious human") and row.prompt.endswith(" ### Assistant:")
    assert row.reward == pytest.approx(1 / (1 + np.exp(-0.5))) and row.segment == "helpful_online"
    assert {row.segment for row in splits["test"]} == {"harmless_base", "helpful_online"}
    assert hh.judged_text(row, "yes").endswith(f"{END}<|assistant|>yes{END}")
    assert hh.rewards(Path()).clean(" yes it is ### Human: no") == "yes it is"


def check_comet(splits: dict[str, list[Row]]) -> None:
    assert len(splits["train"]) == 20 and len(splits["validation"]) == 6 and len(splits["test"]) == 3
    row = splits["test"][0]
    assert row.prompt == "<head> PersonX goes home </head> <relation> HinderedBy </relation> [GEN] "
    assert comet.judged_text(row, "PersonY is sad") == ("Alex goes home", "can be hindered by Robin is sad")


def check_reddit(splits: dict[str, list[Row]]) -> None:
    texts = [row.response for rows in splits.values() for row in rows]
    assert all(text.endswith(END) for text in texts) and not any("  " in t or "http" in t for t in texts)
    assert {row.segment for row in splits["test"]} == {"positive", "negative"}
    assert len({row.segment for row in splits["train"]}) == 1


def check_wow(splits: dict[str, list[Row]]) -> None:
    assert len(splits["train"]) == 12 and len(splits["validation"]) == 5 and len(splits["test"]) == 8
    assert all(len(row.meta["history"]) == 2 for row in splits["train"])
    row = next(row for row in splits["test"] if row.id.endswith("-1"))
    assert (
        row.prompt.startswith(f"Knowledge: {row.meta['knowledge']}{END}") and len(row.meta["history"]) == 12
    )


def test_links_and_ends_of_text_are_cleaned():
    assert reddit.cleaned(f"see  https://a.b/c?d=1 or\twww.x.org{END}\n now") == "see <URL> or <URL> now"


def test_a_published_task_through_all_steps(tmp_path, models):
    """reddit_neg at tiny size: reference, value head, policy, evaluation by its own and by other reward
    models."""
    write_reddit(tmp_path / "raw")
    names = CASES["reddit_neg"][1]
    flags: dict[str, Any] = {"task_name": "reddit_neg"}
    call(
        1,
        tmp_path,
        **flags,
        input_dir=tmp_path / "raw",
        reward_models=flag(models, *names),
        model_name_or_path=str(models / "base"),
    )
    call(
        2,
        tmp_path,
        **flags,
        model_name_or_path=str(models / "base"),
        max_steps=3,
        batch_size=4,
        max_response_length=12,
    )
    call(3, tmp_path, **flags, value_epochs=1, max_response_length=12)
    call(4, tmp_path, **flags, max_steps=2, batch_size=4, eval_every=0, max_response_length=12)
    call(5, tmp_path, **flags, max_response_length=12)
    metrics = (tmp_path / "results/alol/reddit_neg/main/a_lol-seed0/test/metrics.csv").read_text()
    assert all(f"all,{name}," in metrics for name in (*names, "tfidf", FINAL))
    folder = tmp_path / "results/alol/reddit_neg/main/reference/test"
    before = (folder / "metrics.csv").read_text()
    call(
        5,
        tmp_path,
        **flags,
        policies="reference",
        max_response_length=12,
        reward_models=f"depth={models / 'updown'}",
    )
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert before != (folder / "metrics.csv").read_text() and all(r["depth"] == r["updown"] for r in rows)
    # Another judge than step 3 had is no finished step 3.
    noted = tmp_path / "alol_exps/reddit_neg/main/data/rewards.json"
    cached = tmp_path / "alol_exps/reddit_neg/main/step3.json"
    before = cached.read_text()
    noted.write_text(noted.read_text().replace(str(models / "depth"), str(models / "updown")))
    call(3, tmp_path, **flags, value_epochs=1, max_response_length=12)
    assert json.loads(cached.read_text())["key"] != json.loads(before)["key"]
    with pytest.raises(InputError, match="give NAME=FOLDER_OR_HUB_ID, with one of fluency"):
        call(5, tmp_path, **flags, policies="reference", max_response_length=12, reward_models="tfidf=x")


@pytest.mark.skipif(mirror_folder() is None, reason="no mirror")
def test_real_hh_rows(tmp_path, models):
    """The released validation and test rows; the test file's first lines stand in for the training file."""
    mirror = mirror_folder()
    assert mirror is not None
    source = mirror / "LoL-RL" / "data"
    if not source.is_dir():
        pytest.skip("the mirror holds no hh rows")
    raw = tmp_path / "raw"
    for name in (hh.VALIDATION, hh.TESTS[2]):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes((source / name).read_bytes())
    lines = (source / hh.TESTS[2]).read_text().splitlines(keepends=True)
    (raw / hh.TRAIN).parent.mkdir()
    (raw / hh.TRAIN).write_text("".join(lines[:300]))
    (raw / hh.TESTS[2]).write_text("".join(lines[300:]))
    call(1, tmp_path, task_name="hh", input_dir=raw, reward_models=flag(models, "preference"))
    options = RunOptions(task_name="hh", root=tmp_path)
    train, validation, test = (options.rows(split) for split in ("train", "validation", "test"))
    assert len(validation) >= 279 and len(test) >= 830 and len(train) % 2 == 0
    assert 400 < len(train) < 600 and 2 * sum(row.chosen for row in train) == len(train)
    assert not any(row.response.endswith(":") for row in train)
    assert {row.segment for row in validation} == {
        "helpful_online",
        "helpful_rejection",
        "harmless_base",
        "helpful_base",
    } or len({row.segment for row in validation}) > 1
    scores = options.task.reward(validation[:6], [row.response for row in validation[:6]])
    assert all(0 < found["preference"] == found[FINAL] < 1 for found in scores)


@pytest.mark.parametrize("task", CASES)
def test_missing_files_say_what_to_put_where(tmp_path, task):
    if task == "comet":  # once as a user sees it
        printed = step(1, tmp_path, "--task_name", task, fails=True)
    else:
        with pytest.raises(InputError) as error:
            call(1, tmp_path, task_name=task)
        printed = str(error.value)
    where = str(tmp_path / "data" / "fetched" / "by_hand")
    assert where in printed and "\n" not in printed and ("http" in printed or "fetch_data.py" in printed)


def test_unknown_tasks_and_capitals():
    with pytest.raises(InputError, match="unknown task, choose one of toy, arith, prompt_writer, hh"):
        get_task("iwslt")
    assert get_task("COMET").name == "comet" and get_task("WOW").name == "wow"
    assert {get_task(name).name for name in TASKS} == set(TASKS)


HH_LINE = {
    "prefix": [["<|prompter|>go", "<|assistant|>"]] * 2,
    "suffix": ["yes", "no"],
    "reward": [0.1, 0.2],
    "sft_index": 0,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reward": [0.1]}, "a reward for every response"),
        ({"reward": [0.1, float("nan")]}, "expected numbers"),
        ({"reward": None}, "is missing|a reward for every response"),
        ({"suffix": [1, "no"]}, "a reward for every response"),
        ({"prefix": [["<|prompter|>go"]]}, "up to <|assistant|>"),
        ({"sft_index": 2}, "a reward for every response"),
        ({"sft_index": 0.5}, "a reward for every response"),
        ({"suffix": "no"}, "a reward for every response"),
    ],
)
def test_bad_hh_lines(tmp_path, change, said):
    (tmp_path / "f.json").write_text(json.dumps(HH_LINE) + "\n" + json.dumps(HH_LINE | change) + "\n")
    with pytest.raises(InputError, match=said.replace("<|assistant|>", ".*")) as error:
        list(hh.read_pairs(tmp_path / "f.json", ""))
    assert f"{tmp_path / 'f.json'}:2: " in str(error.value) and "\n" not in str(error.value)


def test_bad_raw_files_are_one_line(tmp_path, models):
    write_comet(tmp_path)
    write_dialogues(tmp_path)
    write_reddit(tmp_path)
    lines = (tmp_path / comet.ATOMIC10X).read_text().replace('"p_valid_model": ', '"p_valid_model": 7', 1)
    (tmp_path / comet.ATOMIC10X).write_text(lines)
    (tmp_path / comet.ATOMIC2020).write_text("PersonX goes\txWant\n")
    (tmp_path / knowledge_dialogue.WOW).write_bytes(b"no archive")
    (tmp_path / "faithdial.json").write_text('[{"utterances": [{"history": ["a"]}]}]')
    (tmp_path / "c.csv").write_text("id,text\n1,yes\n")
    (tmp_path / "d.csv").write_text("id,text,score,parent_text,parent_score\n1,yes,many,no,2\n")
    for read, said in (
        (lambda: comet.read_atomic10x(tmp_path / comet.ATOMIC10X), "ATOMIC10X.jsonl:1: p_valid_model is 7"),
        (lambda: list(comet.read_atomic2020(tmp_path / comet.ATOMIC2020)), "test.tsv:1: 2 columns"),
        (lambda: knowledge_dialogue.read_wow(tmp_path / knowledge_dialogue.WOW), "not a readable archive"),
        (
            lambda: knowledge_dialogue.read_faithdial(tmp_path / "faithdial.json", "test"),
            "entry 1 is no FaithDial turn",
        ),
        (lambda: reddit.read_comments(tmp_path / "c.csv", "positive", None), "cannot be read"),
        (
            lambda: reddit.read_comments(tmp_path / "d.csv", "positive", None),
            "cannot be read .could not convert",
        ),
    ):
        with pytest.raises(InputError, match=said) as error:
            read()
        assert "\n" not in str(error.value)


# The two forms of ATOMIC 2020's test tuples.
COLUMNS = (
    b"PersonX goes home\txWant\tto rest\r\n\r\nPersonX goes home\txWant\tto rest\n"
    b"PersonX goes home\txWant\t \nPersonX goes home\toReact\tnone\n"
    b'"PersonX says ""hi"""\txReact\t"glad" at last\nPersonX eats\txNeed\tnone'
)
SAMPLED = (
    b"PersonX goes home @@ xWant\tto rest| | to rest|none\r\nchain @@ ObjectUse\tlock a bike\r\n"
    b'PersonX @@ asks @@ xEffect\t"He says ""no"".| "leaves"| cries"\r\n'
)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            COLUMNS,
            [
                ("PersonX goes home", "xWant", "to rest"),
                ('PersonX says "hi"', "xReact", '"glad" at last'),
                ("PersonX eats", "xNeed", "none"),
            ],
        ),
        (
            SAMPLED,
            [
                ("PersonX goes home", "xWant", "to rest"),
                ("PersonX goes home", "xWant", "none"),
                *(("PersonX @@ asks", "xEffect", t) for t in ('"He says ""no"".', '"leaves"', 'cries"')),
            ],
        ),
    ],
)
def test_test_tuples_of_comet_are_read_once_each_from_both_forms(tmp_path, body, found):
    (tmp_path / "test.tsv").write_bytes(body)
    assert list(comet.read_atomic2020(tmp_path / "test.tsv")) == found


def test_comet_prepares_the_public_sample_and_says_what_rewards_need(tmp_path, models):
    write_comet(tmp_path / "raw")
    (tmp_path / "raw" / comet.ATOMIC2020).unlink()
    sample = tmp_path / "data" / "fetched" / "comet-atomic-2020" / comet.SAMPLE
    for name, body in ((sample, SAMPLED), (tmp_path / "raw" / comet.SAMPLE, SAMPLED)):
        name.parent.mkdir(parents=True)
        name.write_bytes(body)
    with pytest.raises(InputError, match="ATOMIC10X.jsonl: unpack the archive"):
        call(1, tmp_path, task_name="comet")
    flags: dict[str, Any] = {"task_name": "comet", "input_dir": tmp_path / "raw"}
    with pytest.raises(InputError, match="comet_critic.*convert_critic.py"):
        call(1, tmp_path, **flags)
    call(1, tmp_path, **flags, reward_models=flag(models, "p_valid_model"))
    test = RunOptions(task_name="comet", root=tmp_path).rows("test")
    assert [row.segment for row in test] == ["xWant", "xEffect"]


def test_the_public_sample_of_atomic_2020(mirror):
    path = mirror / "comet-atomic-2020" / comet.SAMPLE
    if not path.is_file():
        pytest.skip("needs scripts/fetch_data.py --datasets comet")
    tuples = list(comet.read_atomic2020(path))
    assert len(tuples) == 12_036 and len({found[:2] for found in tuples}) == 2_549
    assert sum(tail.lower() == "none" for _, _, tail in tuples) == 429
    assert [tail for _, _, tail in tuples if '"' in tail] == [
        'He says "Now you\'re an ostrich.".',
        'to say "guess who?"',
        'Moves in with "friend"',
    ]


def test_input_dir_may_hold_the_files_themselves(tmp_path):
    from prompt_oirl.alol.tasks import raw_files
    from prompt_oirl.alol.tasks.task import Request

    write_reddit(tmp_path)
    folder = tmp_path / "reddit_comment_scores"
    for given in (tmp_path, folder):
        found = raw_files.find(
            Request(task="reddit_pos", root=tmp_path, folder=tmp_path, sizes={}, seed=0, input_dir=given),
            list(reddit.FILES.values()),
        )
        assert found == [folder / "comments_positive.csv", folder / "comments_negative.csv"]
    with pytest.raises(
        InputError, match=f"missing {tmp_path}/other/reddit_comment_scores/comments_positive.csv.*Kaggle"
    ):
        given = tmp_path / "other"
        raw_files.find(
            Request(task="reddit_pos", root=tmp_path, folder=tmp_path, sizes={}, seed=0, input_dir=given),
            list(reddit.FILES.values()),
        )


def test_a_wrong_wow_archive_is_refused_by_its_hash(tmp_path):
    write_dialogues(tmp_path / "data" / "fetched" / "by_hand")
    with pytest.raises(InputError, match="its sha256 differs"):
        call(1, tmp_path, task_name="wow")


# --- prompt_writer
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def writer_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Step 1 of prompt_writer, and arith with expected rewards, from one small log."""
    root = tmp_path_factory.mktemp("writer")
    rows = tiny_interactions(n_train=120, n_test=20)
    for row in rows:
        row.dataset, row.llm, row.group, row.finish_reason = "arith", "nano", f"g{row.question_id}", "stop"
        row.temperature, row.top_p, row.max_new_tokens, row.seed = 0.6, 0.9, 8, 0
        if row.question_id in ("toy-0", "toy-1"):
            row.split = "validation"
    interactions.write(root / "data" / "nano_log" / "arith.parquet", rows)
    call(1, root, task_name="prompt_writer")
    return root


def test_prompt_writer_rows(writer_root):
    options = RunOptions(task_name="prompt_writer", root=writer_root)
    train, validation, test = (options.rows(split) for split in ("train", "validation", "test"))
    groups = [{row.group for row in rows} for rows in (train, validation, test)]
    assert not groups[0] & groups[1] and not groups[2] & (groups[0] | groups[1])
    assert len(groups[1]) == 12 and len(test) == len({row.prompt for row in test}) == 20
    logged = {
        (r.question_id, r.prompt_id): r
        for r in interactions.read(writer_root / "data/nano_log/arith.parquet", hint="")
    }
    for row in train:
        source = logged[row.meta["question_id"], row.meta["prompt_id"]]
        assert row.prompt == source.question + "\n" and row.response == source.prompt
        assert row.reward == source.correct and 0 < row.meta[EXPECTED] < 1
    assert not any(EXPECTED in row.meta for row in (*validation, *test))
    # The judge that step 1 wrote scores what the writer says, each pair by itself, and an empty prompt as
    # nothing.
    rows = validation[:3]
    scores = options.task.reward([*rows, rows[0]], [*(row.response for row in rows), " "])
    assert scores[0] == options.task.reward(rows[:1], [rows[0].response])[0] and scores[3][FINAL] == 0
    reward_model = log_reward.load(options.folder / "data" / prompt_writer.JUDGE)
    wanted = reward_model.score([rows[1].prompt.strip()], [rows[1].response])[0]
    assert scores[1][FINAL] == pytest.approx(wanted)


def test_a_log_without_groups_is_split_by_near_duplicates(tmp_path):
    """Training questions that resemble a test question are left out, as are prompts at other positions."""
    rows = tiny_interactions(n_train=60, n_test=8)
    own = ["Which ship sank first?", "Name a colour of the flag.", "Where does the river end?"]
    rows += [replace(rows[0], question_id=f"own-{i}", question=text) for i, text in enumerate(own)]
    rows += [replace(rows[0], question_id="sys", question="Who wrote the letter?", position="system")]
    interactions.write(tmp_path / "log.jsonl", rows)
    splits = prompt_writer.read_log(tmp_path / "log.jsonl", 0)
    left = {row.question for row in (*splits["train"], *splits["validation"])}
    dropped = {row.question for row in rows if row.split == "train"} - left
    assert set(own) <= left and "Who wrote the letter?" in dropped and len(dropped) > 1
    clusters = [{row.group for row in found} for found in splits.values()]
    assert not clusters[0] & clusters[1] and not clusters[2] & (clusters[0] | clusters[1])
    interactions.write(tmp_path / "leaky.jsonl", [replace(row, question=rows[0].question) for row in rows])
    with pytest.raises(InputError, match="0 groups of questions without one"):
        prompt_writer.read_log(tmp_path / "leaky.jsonl", 0)


def test_cross_fitting_never_sees_the_rows_own_group(writer_root):
    """Turning a group's verdicts round changes other rows' scores, not its own (but for the calibration, left
    out)."""
    log = writer_root / "data/nano_log/arith.parquet"
    rows = prompt_writer.read_log(log, 0)["train"]
    group = rows[0].group
    turned = [replace(row, correct=1 - row.correct) if row.group == group else row for row in rows]

    def uncalibrated(found: log_reward.LogRewardFit) -> np.ndarray:
        return (log_reward.log_odds(found.cross_fitted) - found.model.intercept) / found.model.slope

    before, after = (uncalibrated(log_reward.fit(r, "knn", "minilm", 0)) for r in (rows, turned))
    own = np.array([row.group == group for row in rows])
    assert np.allclose(before[own], after[own], atol=1e-5) and not np.allclose(
        before[~own], after[~own], atol=1e-5
    )


def test_platt_recovers_a_line():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20_000)
    true = log_reward.calibrated(scores, 1.7, -0.4)
    slope, intercept = log_reward.platt(scores, (rng.random(20_000) < true).astype(float), np.ones(20_000))
    assert slope == pytest.approx(1.7, abs=0.08) and intercept == pytest.approx(-0.4, abs=0.08)
    with pytest.raises(InputError, match="same verdict"):
        log_reward.platt(scores, np.ones(20_000), np.ones(20_000))


def test_an_altered_judge_is_refused(writer_root, tmp_path):
    import shutil

    folder = tmp_path / "judge"
    shutil.copytree(writer_root / "alol_exps/prompt_writer/main/data/judge", folder)
    (folder / "model.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(InputError, match="altered or copied"):
        log_reward.load(folder)
    (folder / "judge.json").write_text("{}")
    with pytest.raises(InputError, match="not a reward model's record; run alol_step1"):
        log_reward.load(folder)


def test_prompt_writer_through_all_steps(writer_root, models, tmp_path, capsys):
    """Steps 2 to 5 with V from the reward model, then the comparison with a tiny LLM really answering."""
    import importlib.util

    flags: dict[str, Any] = {"task_name": "prompt_writer", "max_prompt_length": 30, "max_response_length": 20}
    flags["long_responses"] = "cut"
    base = {"model_name_or_path": str(models / "base")}
    call(2, writer_root, **flags, **base, max_steps=2, batch_size=4, eval_every=0)
    call(3, writer_root, **flags, value="reward_model")
    call(4, writer_root, **flags, max_steps=2, batch_size=4, eval_every=1, validation_prompts=3)
    call(5, writer_root, **flags)
    stats = (writer_root / "alol_exps/prompt_writer/main/advantages/advantage_stats.csv").read_text()
    assert "all,value," in stats and "a_lol-seed0" in capsys.readouterr().out
    spec = importlib.util.spec_from_file_location(
        "evaluate_prompt_writer", REPO_ROOT / "scripts/evaluate_prompt_writer.py"
    )
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["evaluate_prompt_writer"] = script
    spec.loader.exec_module(script)
    args = script.Args(
        root=writer_root,
        writers=["reference", "a_lol-seed0"],
        samples=2,
        questions=6,
        ckpt_dir=small_llm(tmp_path / "nano"),
    )
    script.main(args)
    answers = writer_root / "results/alol/prompt_writer/main/answers.jsonl"
    first, table = answers.read_bytes(), (answers.parent / "prompt_writer.csv").read_text()
    assert (
        "pool and written,a_lol,1,1," in table
        and "pool,,,3," in table
        and "best single prompt,,,1,1," in table
    )
    answers.write_bytes(first[: len(first) // 2])  # a run killed half-way pays for the other half only
    script.main(args)
    assert sorted(answers.read_bytes().splitlines())[0][:20] == sorted(first.splitlines())[0][:20]
    assert (answers.parent / "prompt_writer.csv").read_text() == table
    with pytest.raises(InputError, match="--writers nobody"):
        script.main(replace(args, writers=["nobody"]))


def small_llm(folder: Path) -> Path:
    model, _ = toy.make_model(0)
    with_chat_template(toy.make_model(0)[1]).save_pretrained(folder)
    model.config.max_position_embeddings = 256
    model.save_pretrained(folder)
    return folder


def test_arith_with_expected_rewards(writer_root, tmp_path):
    small_llm(tmp_path / "nano")
    flags: dict[str, Any] = {"task_name": "arith", "model_name_or_path": str(tmp_path / "nano")}
    rows = interactions.read(writer_root / "data/nano_log/arith.parquet", hint="")
    interactions.write(tmp_path / "log.jsonl", rows)
    call(1, tmp_path, **flags, log=tmp_path / "log.jsonl")
    with pytest.raises(InputError, match="hold no expected reward.*--expected_reward"):
        call(3, tmp_path, **flags, value="reward_model", max_response_length=8)
    call(1, tmp_path, **flags, log=tmp_path / "log.jsonl", expected_reward=True)
    call(3, tmp_path, **flags, value="reward_model", max_response_length=8)
    read = read_rows(tmp_path / "alol_exps/arith/main/data/train.jsonl", "arith", 1.0)
    assert all(0 < row.meta[EXPECTED] < 1 for row in read)


# --- best of N
# -------------------------------------------------------------------------------------------------


def test_the_quoted_table_is_the_committed_one():
    from prompt_oirl.alol.experiments.written_prompts import render

    rows = read_csv(REPO_ROOT / "results" / "reference" / "alol_prompt_writer.csv", hint="")
    quoted = (REPO_ROOT / "docs" / "a_lol_tasks.md").read_text(encoding="utf-8")
    assert f"<!-- table: alol_prompt_writer -->\n{render(rows)}<!-- end -->" in quoted
    assert all(float(r["ci_low"]) <= float(r["success"]) <= float(r["ci_high"]) for r in rows)


def test_votes_and_calls():
    answers = {
        "a": ("The answer is 4.", 1.0),
        "b": ("The answer is 5.", 0.0),
        "c": ("So it is 4", 1.0),
        "d": ("?", 0.0),
    }
    ranking = [[("b", 0.9), ("a", 0.5), ("c", 0.45), ("d", 0.1)]]
    assert best_of_n.outcome(ranking, 1, [answers])[0] == 0  # the best-ranked prompt alone is wrong
    assert best_of_n.outcome(ranking, 2, [answers])[0] == 0  # two answers disagree: the heavier one
    assert best_of_n.outcome(ranking, 3, [answers])[0] == 1  # .5 + .45 outweigh .9
    assert best_of_n.vote([answers["d"], answers["a"]], [0.9, 0.1]) == 1  # no number, no weight
    assert best_of_n.vote([answers["d"]], [0.9]) == 0


def test_ranking_drops_repeats_and_puts_empty_prompts_last(writer_root):
    reward_model = log_reward.load(writer_root / "alol_exps/prompt_writer/main/data" / prompt_writer.JUDGE)
    question = "Ann has 3 apples and finds 4 more. How many apples does Ann have in total?"
    (ranking,) = best_of_n.ranked(reward_model, [question], [["Think.", " ", "Think.", "Answer:"]])
    assert [prompt for prompt, _ in ranking][-1] == " " and len(ranking) == 3 and ranking[-1][1] == 0
    wanted = reward_model.score([question] * 2, ["Think.", "Answer:"])
    assert sorted(r for _, r in ranking[:2]) == pytest.approx(sorted(wanted))


def test_gains_are_paired_over_the_pool_of_equal_calls():
    def arm(name: str, calls: int, values: list[list[float]]) -> dict[str, Any]:
        found = {"arm": name, "writer": "" if name == "pool" else "a_lol", "calls": calls, "candidates": 6.0}
        return found | {"unlogged": 0.0, "values": np.array(values)}

    arms = [arm("pool", 1, [[1, 0, 1, 0]]), arm("pool", 3, [[1, 1, 1, 0]])]
    arms += [arm("written", 1, [[1, 1, 1, 0], [1, 0, 1, 0]]), arm("written", 3, [[1, 1, 1, 0], [1, 1, 1, 0]])]
    rows = {(r["arm"], r["calls"]): r for r in best_of_n.table(arms, ["g1", "g1", "g2", "g3"])}
    assert rows["written", 1]["gain_over_pool"] == pytest.approx(0.125) and rows["written", 1]["writers"] == 2
    assert rows["written", 3]["gain_over_pool"] == 0 == rows["written", 3]["gain_ci_high"]
    assert rows["pool", 3]["success"] == 0.75 and rows["pool", 1]["groups"] == 3
