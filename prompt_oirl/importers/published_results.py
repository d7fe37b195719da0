"""Per-question results that came with papers, as logs: `scripts/fetch_data.py --datasets real_logs`.

One function a repository reads its files below data/fetched/ (listed in data/sources.toml) and yields rows. A
model or a decoding method may stand for a prompt. `answer` is what the LLM settled on, not all it said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from prompt_oirl.importers import Row
from prompt_oirl.io.files import InputError, read_csv, write_csv
from prompt_oirl.io.json_files import read_json, read_jsonl

HINT = "run scripts/fetch_data.py --datasets real_logs again"

RE2_PROMPTS = {"vanilla": "Answer the question.", "cot": "Let's think step by step."}
# LLM, and its runs with the question once and twice, as results/README.md of the repository names them.
RE2_GSM8K = (
    (
        "text-davinci-003",
        "gsm_topp1.0_temp0.0_majority1_20230828_141934",
        "gsm_topp1.0_temp0.0_majority1_20230828_142302",
    ),
    (
        "gpt-3.5-turbo",
        "gsm_topp1.0_temp0.0_majority1_20230828_1157",
        "gsm_topp1.0_temp0.0_majority1_20230828_1200",
    ),
    (
        "gpt-4o-mini",
        "gsm_gpt-4o-mini-2024-07-18_topp1.0_temp0.0_majority1_readtimes1_20240926_221724",
        "gsm_gpt-4o-mini-2024-07-18_topp1.0_temp0.0_majority1_readtimes2_20240926_222057",
    ),
)
RE2_CSQA = (
    (
        "text-davinci-003",
        "commonsenseqa_topp1.0_temp0.0_majority1_readtimes1_20230912_002205",
        "commonsenseqa_topp1.0_temp0.0_majority1_readtimes2_20230912_002237",
    ),
    (
        "gpt-3.5-turbo",
        "commonsenseqa_topp1.0_temp0.0_majority1_readtimes1_20230912_002124",
        "commonsenseqa_topp1.0_temp0.0_majority1_readtimes2_20230912_002132",
    ),
    (
        "gpt-4o-mini",
        "commonsenseqa_gpt-4o-mini-2024-07-18_topp1.0_temp0.0_majority1_readtimes1_20240926_224916",
        "commonsenseqa_gpt-4o-mini-2024-07-18_topp1.0_temp0.0_majority1_readtimes2_20240926_225049",
    ),
)

GSM8K_MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")

BBH_PROMPTS = {
    "direct": "Three examples, then the answer alone",
    "cot": "Three worked examples, let's think step by step",
}
BBH_ENDING = "_few_shot_template_0-255000.json"

TOT_PROMPTS = {"standard": "standard", "cot": "chain of thought"}
TOT_SAMPLES = 20  # of the 100 of a puzzle and prompt: they settle a cell's success to about .1


def re2(fetched: Path, runs: tuple[tuple[str, str, str], ...]) -> Iterator[Row]:
    """Re-Reading: three LLMs answer directly or step by step, reading the question once or twice.

    A file holds a run, a line a question with `generation`, `answer` and `score` of both ways to answer. The
    verdict is theirs (`score`), and so is the answer read off, empty where they found none. `prompt` is the
    wording by which the prompts differ. gpt-3.5-turbo was asked 30 questions of GSM8K twice when reading them
    twice; both answers are kept.

    Parameters
    ----------
    fetched : the folder data/fetched/
    runs : RE2_GSM8K or RE2_CSQA
    """
    folder = fetched / "Rereading-LLM-Reasoning" / "results"
    for llm, *names in runs:
        for opening, name in zip(("", "Read the question again. "), names):
            for found in read_jsonl(folder / f"{name}.jsonl", hint=HINT):
                for way, prompt in RE2_PROMPTS.items():
                    answer = found[way]["answer"]
                    yield {
                        "question": re2_question(found),
                        "prompt": opening + prompt,
                        "correct": int(found[way]["score"]),
                        "answer": None if answer is None else str(answer),
                        "llm": llm,
                    }


def re2_question(found: Row) -> str:
    """The question of a line of Re-Reading's files, its options one a line."""
    if "input" in found:
        return found["input"]
    choices = (f"({choice['label']}) {choice['text']}" for choice in found["question"]["choices"])
    return "\n".join([found["question"]["stem"], *choices])


def openai_gsm8k(fetched: Path) -> Iterator[Row]:
    """GSM8K's test questions, answered by GPT-3 of two sizes, fine-tuned or with a verifier.

    A line holds a question and of each model `solution` and `is_correct`. The verdict is theirs
    (`is_correct`). The model stands for the prompt. The answer stands behind "A: "; 11 solutions break off
    before, and are given whole.
    """
    path = fetched / "grade-school-math" / "grade_school_math" / "data" / "example_model_solutions.jsonl"
    for found in read_jsonl(path, hint=HINT):
        for model in GSM8K_MODELS:
            yield {
                "question": found["question"],
                "prompt": model,
                "correct": int(found[model]["is_correct"]),
                "answer": _behind("A: ", found[model]["solution"]),
            }


def bbh_codex(fetched: Path) -> Iterator[Row]:
    """BIG-Bench Hard: code-davinci-002 answers the questions of 27 tasks with and without a chain of thought.

    A file holds a task and a prompt: `input` (examples and question), `prediction` and `target`. No verdict
    is published. It is made here as the authors describe it: the answer, of a chain of thought what stands
    behind "the answer is", equals `target`; so each task's success is the published one. The task is the
    segment.
    """
    folder = fetched / "BIG-Bench-Hard" / "code-davinci-002-outputs"
    for path in sorted((folder / "code-davinci-002-direct").glob(f"*{BBH_ENDING}")):
        for way, prompt in BBH_PROMPTS.items():
            for found in read_json(folder / f"code-davinci-002-{way}" / path.name, hint=HINT)["outputs"]:
                said = found["prediction"]
                answer = _behind("the answer is ", said).rstrip(".") if way == "cot" else said
                yield {
                    "question": found["input"].rpartition("\n\nQ: ")[2].rpartition("\nA:")[0],
                    "prompt": prompt,
                    "correct": int(answer == found["target"]),
                    "answer": answer,
                    "llm": "code-davinci-002",
                    "segment": path.name.removesuffix(BBH_ENDING),
                }


def tot_game24(fetched: Path) -> Iterator[Row]:
    """Tree of Thoughts: GPT-4 makes 24 of four numbers, with the two prompts that the search is compared to.

    A file holds a prompt: of each puzzle 100 sampled answers `ys` and verdicts, `accs` or in `infos`; the
    puzzle is a line of 24.csv. The verdict is theirs: the equation uses the four numbers and gives 24. The
    answer is the last line of what GPT-4 wrote.
    """
    folder = fetched / "tree-of-thought-llm"
    puzzles = read_csv(folder / "src" / "tot" / "data" / "24" / "24.csv", hint=HINT, columns=["Puzzles"])
    for way, prompt in TOT_PROMPTS.items():
        name = f"gpt-4_0.7_naive_{way}_sample_100_start900_end1000.json"
        for found in read_json(folder / "logs" / "game24" / name, hint=HINT):
            numbers = puzzles[found["idx"]]["Puzzles"]
            verdicts = found["accs"] if "accs" in found else [info["r"] for info in found["infos"]]
            for sample, text in enumerate(found["ys"][:TOT_SAMPLES]):
                yield {
                    "question": f"Use the numbers {numbers} and + - * / to obtain 24.",
                    "prompt": prompt,
                    "correct": int(verdicts[sample]),
                    "answer": text.strip().rpartition("\n")[2],
                    "llm": "gpt-4",
                    "sample": sample,
                }


def _behind(words: str, text: str) -> str:
    """What stands behind the last `words`; without them all of `text`."""
    return text.rpartition(words)[2].strip()


LOGS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "re2_gsm8k": partial(re2, runs=RE2_GSM8K),
    "re2_csqa": partial(re2, runs=RE2_CSQA),
    "openai_gsm8k": openai_gsm8k,
    "bbh_codex": bbh_codex,
    "tot_game24": tot_game24,
}


def write_logs(fetched: Path, folder: Path) -> dict[str, int]:
    """Write folder/NAME.csv of every log.

    Parameters
    ----------
    fetched : the folder data/fetched/
    folder : where the logs go, made if it is missing

    Returns: the rows of each log, by name.
    Raises: InputError if a file is missing or not as it was published.
    """
    sizes = {}
    for name, read in LOGS.items():
        try:
            rows = list(read(fetched))
            write_csv(folder / f"{name}.csv", rows)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{name}: its files are not as published ({error!r}); {HINT}") from error
        sizes[name] = len(rows)
    return sizes
