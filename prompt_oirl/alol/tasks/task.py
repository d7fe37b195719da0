"""The tasks A-LoL is tried on: how a response is rewarded, how long texts may be, and settings to begin
with."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from tyro.conf import arg

from prompt_oirl.alol.rows import FINAL, Row
from prompt_oirl.io.files import Paths
from prompt_oirl.llms.generation import Decoding

T = TypeVar("T")
Reward = Callable[[Sequence[Row], Sequence[str]], list[dict[str, float]]]


@dataclass(frozen=True)
class Passes:
    """Updates as passes over the training rows."""

    times: float


@dataclass(frozen=True)
class Settings:
    """What a step does where no flag says otherwise; of published tasks, what the published scripts do."""

    reference_steps: int | Passes
    reference_rate: float
    steps: int | Passes
    rate: float
    batch_size: int
    accumulation: int = 1
    schedule: Literal["linear", "constant"] = "linear"
    weight_decay: float = 0.01
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    lora_rank: int = 16
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    reference_validations: int = 10
    validations: int = 5  # of a policy in training; 0: the last weights are kept
    value_epochs: int = 15
    value_rate: float = 1e-3
    value_samples: int = 1  # responses per validation prompt
    ppo_rate: float | None = None  # of ppo and rloo, if another
    ppo_rounds: int | None = None  # of ppo, instead of steps
    ppo_batches: int = 2  # batches of answers of a round
    ppo_epochs: int = 2  # passes over them


@dataclass(frozen=True)
class Search:
    """Decoding without noise: beam search, which with one beam is greedy.

    repetition_penalty : the scores of tokens that stand in prompt or response already are divided by it (or,
        below 0, multiplied); 1: none.
    stop : a token that ends a response, besides the end of text.
    """

    num_beams: int = 1
    repetition_penalty: float = 1.0
    stop: str | None = None


GREEDY = Search()
BEAMS = Search(2, 2.5)  # the published generation tasks


@dataclass(kw_only=True)
class SourceOptions:
    """Flags of step 1 that single tasks read: what rows are made of and rewarded with."""

    input_dir: Annotated[Path | None, arg(aliases=["-i"])] = None
    """Published tasks: folder of the raw files; by default data/fetched/."""
    log: Path | None = None
    """arith, prompt_writer: the interaction log, JSONL or Parquet; by default data/nano_log/arith.parquet."""
    prompt: str | None = None
    """arith: put all logged answers to a question under this one prompt, nan say; sizes then count
    questions."""
    model_name_or_path: Annotated[str | None, arg(aliases=["-m", "--model_name"])] = None
    """Model whose chat template (arith) or tokenizer (reddit, wow, faithdial) is needed; by default the
    task's."""
    reward_models: str | None = None
    """Published tasks: other reward models, as component=FOLDER_OR_HUB_ID,...; later steps use them too."""
    reward_model: Literal["linear", "xgboost", "lightgbm", "mlp", "knn"] = "linear"
    """prompt_writer, arith: the reward model of Prompt-OIRL that is learned from the log."""
    embedder: str = "minilm"
    """Its embedder: minilm, a sentence-transformers folder or hub id, or openai:MODEL."""
    train_reward: Literal["correct", "model"] = "correct"
    """prompt_writer: a training row's reward, the logged verdict or its cross-fitted expectation."""
    expected_reward: bool = False
    """arith: note what each row deserved to expect by that reward model, for step 3 --value reward_model."""


@dataclass(kw_only=True)
class Request(SourceOptions):
    """What step 1 was asked to prepare."""

    task: str
    root: Path
    folder: Path  # of the run; rows go to its data/
    sizes: dict[str, int]  # rows of a split at most
    seed: int

    @property
    def data(self) -> Path:
        """Folder of the run's rows and of what rewards them."""
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        """The interaction log given, or the committed one of the tiny model."""
        return self.log or Paths(self.root).committed_log("nano", "arith")


@dataclass(frozen=True)
class Prepared:
    """Rows of every split and the files written beside them; `note` is for the user."""

    splits: dict[str, list[Row]]
    files: list[Path]
    note: str = ""


@dataclass(frozen=True)
class Task:
    """How rows are made and how responses are rewarded.

    Parameters
    ----------
    max_reward : largest `final_reward`; the smallest is 0.
    metric : the reward component that tables are about.
    make_reward : given the data folder of a run, the function that rewards responses as that run does.
    inputs : files that step 1 reads for a request.
    prepare : step 1's work.
    max_prompt_length, max_response_length, long_responses, special_tokens : see `Limits`.
    pairs : which response of a pair is preferred: the logged one, or the one of higher reward.
    temperature, top_p : of sampling.
    search : how the published scripts answer, without sampling; None: responses are sampled.
    needs : fields of a row's meta_data that the reward reads.
    base_model : what step 2 begins with: a hub id, or a folder below the root.
    data : data folder of the run, whose reward models are used.
    """

    name: str
    make_reward: Callable[[Path], Reward]
    inputs: Callable[[Request], list[Path]]
    prepare: Callable[[Request], Prepared]
    settings: Settings
    max_reward: float = 1.0
    metric: str = FINAL
    max_prompt_length: int = 512
    max_response_length: int = 128
    long_responses: Literal["refuse", "cut"] = "refuse"
    special_tokens: bool = False
    pairs: Literal["logged", "reward"] = "reward"
    temperature: float = 1.0
    top_p: float = 0.9
    search: Search | None = None
    needs: tuple[str, ...] = ()
    base_model: str | None = None
    data: Path = Path()

    @cached_property
    def reward(self) -> Reward:
        """Gives each response to the rows' prompts its components, among them `final_reward`."""
        return self.make_reward(self.data)

    def searched(self, decoding: Literal["sampled", "greedy"] | None) -> Search | None:
        """The search that a flag asks for: None, which samples, or greedy; left out, the task's own."""
        return {"sampled": None, "greedy": GREEDY, None: self.search}[decoding]

    def as_read(self, response: str) -> str:
        """A response as the reward reads it, which for a published task is up to its first stop."""
        clean = getattr(self.reward, "clean", None)
        return clean(response) if clean else response

    def decoding(self, seed: int, max_new_tokens: int, greedy: bool = False) -> Decoding:
        """Sampling like the logged responses', or greedy.

        Parameters
        ----------
        seed : of the sampling noise
        max_new_tokens : tokens of a response at most
        greedy : temperature 0 instead of the task's
        """
        return Decoding(0.0 if greedy else self.temperature, self.top_p, max_new_tokens, seed)


def drawn(rows: list[T], n: int | None, seed: list[int]) -> list[T]:
    """At most n rows at random, in their order.

    Parameters
    ----------
    rows : to draw from
    n : how many to keep; None keeps all
    seed : numbers that seed the draw together
    """
    if n is None or n >= len(rows):
        return rows
    kept = np.random.default_rng(seed).choice(len(rows), n, replace=False)
    return [rows[i] for i in np.sort(kept)]


def drop_held_out(splits: dict[str, list[Row]], key: Callable[[Row], Hashable], noun: str) -> str:
    """Drop training rows that share a key with a held-out row; returns a note of how many.

    Parameters
    ----------
    splits : rows of train, validation and test; train is replaced in place
    key : what a training row must not share with one of validation or test
    noun : what that is, for the note
    """
    held = {key(row) for split in ("validation", "test") for row in splits[split]}
    kept = [row for row in splits["train"] if key(row) not in held]
    dropped, splits["train"] = len(splits["train"]) - len(kept), kept
    return f"{dropped:,} training rows dropped whose {noun} is held out"
