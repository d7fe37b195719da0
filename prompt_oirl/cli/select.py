"""`prompt-oirl select`: the prompts that a saved selector chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from prompt_oirl.cli.output import Format, say, write_rows

if TYPE_CHECKING:
    from prompt_oirl.data.arms import Choices
    from prompt_oirl.selection.chooser import Chooser

MOST_AT_ONCE = 20_000_000  # questions x prompts that `select` holds


@dataclass(kw_only=True)
class Select:
    """Choose a prompt for each question.

    example: prompt-oirl select selector new_questions.csv --format csv > choices.csv
    """

    selector: tyro.conf.Positional[Path]
    """Folder that `prompt-oirl fit` wrote, or owner/name on the Hugging Face hub."""
    questions: tyro.conf.Positional[str] = "-"
    """CSV or JSONL with a field question and optionally segment, or plain text with one question per line; -
    for stdin, where each line of plain text is answered when it has come (but not with --format table)."""
    prompts: Path | None = None
    """Choose among these prompts instead of the log's: a CSV or JSONL with a field prompt. Where the LLM is
    chosen too, a prompt that the log lacks is tried on each LLM."""
    embedder: str | None = None
    """The embedder that the selector was fitted with, needed if that is a folder or hub id: such a model may
    bring code, so a selector's folder alone does not choose it."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    k: int = 1
    """How many prompts per question, best first."""
    abstain_below: float | None = None
    """Leave the prompt empty where the best one's probability is lower than this (0 to 1)."""
    format: Format = "csv"
    """How the choices are written."""
    excel_safe: bool = False
    """In CSV, put ' before texts that a spreadsheet would take for a formula."""

    def run(self) -> None:
        """Write the prompts that a saved selector chooses for some questions."""
        from prompt_oirl.data.arms import on_llms
        from prompt_oirl.data.log_columns import segment_column
        from prompt_oirl.io.streamed_texts import begin_stdin
        from prompt_oirl.io.tables import read_text_table, read_texts, texts
        from prompt_oirl.selection.chooser import Chooser
        from prompt_oirl.selection.hub import located

        folder = located(self.selector, self.revision)
        if folder != self.selector:
            say(f"note: {self.selector} is no folder here: taken from the hub, commit {folder.name}")
        selector = Chooser.load(folder, self.embedder)
        prompts = None
        if self.prompts is not None:
            listed = list(dict.fromkeys(read_texts(str(self.prompts), "prompt", lines=False)))
            prompts = on_llms(listed, selector.arms_)
        begun, arriving = b"", None
        if self.questions == "-" and self.format != "table":
            begun, arriving = begin_stdin("question")
        if arriving is not None:
            self._write([], selector, prompts)
            for questions in arriving:
                self._write(questions, selector, prompts, header=False)
            return
        where, asked = f"{self.questions}:", read_text_table(self.questions, "question", True, begun)
        segments = segment_column(asked, where) if "segment" in asked else None
        strange = sum(s not in selector.segments_.names for s in segments or () if s is not None)
        if strange:
            say(
                f"note: questions of a segment that the selector does not know, taken as average: {strange:,}"
            )
        self._write(texts(asked, "question", where), selector, prompts, segments)

    def _write(
        self,
        questions: list[str],
        selector: Chooser,
        prompts: Choices | None,
        segments: Sequence[str | None] | None = None,
        header: bool = True,
    ) -> None:
        from prompt_oirl.data.arms import llm_of, prompt_of

        page = max(MOST_AT_ONCE // max(len(prompts or selector.arms_), 1), 1)
        rows: list[dict[str, Any]] = []
        for start in range(0, max(len(questions), 1), page):
            some = slice(start, start + page)
            picks, probabilities = selector.choose(
                questions[some], prompts, self.k, self.abstain_below, segments and segments[some]
            )
            rows += [
                {
                    "question": question,
                    "rank": rank + 1,
                    "prompt": prompt_of(picks[i, rank]),
                    "llm": llm_of(picks[i, rank]),
                    "probability": round(float(probabilities[i, rank]), 6),
                }
                for i, question in enumerate(questions[some])
                for rank in range(self.k)
            ]
        columns = ["question", "rank", "prompt", *(["llm"] if selector.llms_ else []), "probability"]
        write_rows(rows, self.format, self.excel_safe, columns=columns, header=header)
