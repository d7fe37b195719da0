"""The commands of `prompt-oirl`: their flags, whose texts are what --help shows, and what they do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from prompt_oirl.cli.grade import Grade
from prompt_oirl.cli.import_command import Import
from prompt_oirl.cli.options import EmbedOptions, LearnOptions, LogArgument
from prompt_oirl.cli.output import Format, plain, say, write_rows, write_stdout
from prompt_oirl.cli.plan import Plan
from prompt_oirl.cli.select import Select
from prompt_oirl.cli.serve import Serve
from prompt_oirl.cli.value import Value
from prompt_oirl.io.files import InputError, on_one_line

if TYPE_CHECKING:
    from prompt_oirl.data.prompt_log import PromptLog
    from prompt_oirl.selection.selector import PromptSelector


@dataclass(kw_only=True)
class Fit(LogArgument, LearnOptions):
    """Learn a selector from a log and save it; or learn one anew that is served (--update).

    examples: prompt-oirl fit log.csv --out selector
              prompt-oirl fit log.csv served_log --update selector
    """

    out: Path | None = None
    """Folder for the selector; with --update, where the new one is saved in place of the old one's folder."""
    update: Path | None = None
    """A selector whose settings are used. The new one replaces it, unless it is shown to be worse or too
    little is known; the old one is kept in the folder previous within."""
    sign: bool = False
    """Refuse to work without a key in PROMPT_OIRL_SIGNING_KEY. With one, selectors are always signed, and
    unsigned or altered ones are not loaded."""

    def run(self) -> None:
        """Learn a selector from a log and save it in a folder."""
        if self.out is not None and self.out.is_file():
            raise InputError(f"{self.out} is a file: choose a folder for the selector")
        if self.sign:
            from prompt_oirl.selection.signatures import check_key

            check_key()
        if self.update is not None:
            self._update(self.update)
            return
        if self.out is None:
            raise InputError("give --out, a folder for the selector, or --update SELECTOR")
        log, selector = self.read(self.log), self.make_selector()
        selector.fit(log)
        self._say(log, selector, selector.save(self.out))

    def _update(self, folder: Path) -> None:
        from prompt_oirl.features.embedders import holds_no_code
        from prompt_oirl.selection.selector import PromptSelector
        from prompt_oirl.selection.storage import version_id
        from prompt_oirl.selection.update import PREVIOUS, learn_anew, replace_selector

        embedder = None if holds_no_code(self.embedder) else self.embedder
        if self.make_selector().get_params() != PromptSelector(embedder or "minilm").get_params():
            raise InputError(
                "--update keeps the settings of the selector: leave out --embedder (but name a "
                "folder or hub id again), --model, --cost_weight and --seed"
            )
        if not folder.is_dir():
            raise InputError(f"--update {folder}: no such folder; what is on the hub is not replaced")
        old, log = PromptSelector.load(folder, embedder), self.read(self.log)
        found = learn_anew(old, log, old_id=version_id(folder))
        for note in found.notes:
            say(f"note: {note}")
        write_stdout(f"{found.sentence()}\n")
        if self.out is None and found.objection:
            say(
                f"the new selector is not put in place, {found.objection}: {folder} stays as it was; --out "
                "saves it elsewhere"
            )
            return
        if self.out is None:
            replace_selector(found.selector, folder)
            say(f"the old selector is kept in {folder / PREVIOUS}")
        else:
            found.selector.save(self.out)
        self._say(log, found.selector, self.out or folder)

    def _say(self, log: PromptLog, selector: PromptSelector, folder: Path) -> None:
        best = selector.arms_[selector.best_]
        answers = int(log.counts[:, log.arms.index(best)].sum())
        say(
            f"{len(log.questions):,} questions, {len(log.prompts)} prompts, {len(log.correct):,} answers; "
            f"best prompt overall, right in {100 * selector.success_[selector.best_]:.1f} % of its "
            f"{answers:,} answers: {on_one_line(str(best)) or '(no prompt)'}"
        )
        say(f"selector ({selector.model_name_}) saved in {folder}")


@dataclass(kw_only=True)
class Evaluate(LearnOptions):
    """Measure what the selector gains over the best single prompt on unseen questions (cross-fitted).

    examples: prompt-oirl evaluate log.csv
              prompt-oirl evaluate --train log_of_model_a.csv --test log_of_model_b.csv
    """

    log: tyro.conf.Positional[tuple[str, ...]] = ()
    """The log to cross-fit on, in one file or several; or give --train and --test."""
    train: tuple[str, ...] = ()
    """Learn from this log ..."""
    test: tuple[str, ...] = ()
    """... and evaluate on this one."""
    table: Literal["choices", "coverage", "calibration"] = "choices"
    """choices, coverage (success if the least sure questions are left out) or calibration (predicted against
    observed)."""
    format: Format = "table"
    """How the result is written."""

    def run(self) -> None:
        """Write what choosing per question gains on questions the selector has not seen."""
        from prompt_oirl.selection.evaluate import evaluate

        if bool(self.log) == bool(self.train) or bool(self.train) != bool(self.test):
            raise InputError("give one log to cross-fit on, or both --train and --test")
        log = self.read(self.log or self.test)
        train = self.read(self.train) if self.train else None
        result = evaluate(self.make_selector(), log, train, seed=self.seed)
        tables = {"choices": result.policies, "coverage": result.coverage, "calibration": result.calibration}
        write_rows(tables[self.table], self.format)
        for name, text in zip(result.log.names, result.log.prompts):
            say(f"{on_one_line(name)}: {on_one_line(text) or '(no prompt)'}")
        say(result.sentence())


@dataclass(kw_only=True)
class Diagnose(LogArgument, EmbedOptions):
    """Say whether choosing per question is worth it on this log: worth it, not shown, or not enough data.

    example: prompt-oirl diagnose log.csv
    """

    format: Literal["text", "jsonl"] = "text"
    """Sentences, verdict first; or one JSON object with every number."""

    def run(self) -> None:
        """Write whether choosing per question is worth it on a log."""
        from prompt_oirl.selection.diagnosis import diagnose, report_lines

        found = diagnose(self.read(self.log), self.embedder, self.seed)
        if self.format == "jsonl":
            write_stdout(json.dumps(plain(asdict(found))) + "\n")
        else:
            write_stdout("".join(f"{line}\n" for line in report_lines(found)))


@dataclass(kw_only=True)
class Vote(LogArgument, LearnOptions):
    """Measure what asking several prompts and voting brings, from the stored answers (column answer).

    example: prompt-oirl vote log.csv
    """

    parser: Literal["auto", "number", "choice", "bool", "text", "original"] = "auto"
    """What counts as the same answer: the same number, option, truth value or text that is stated, in any
    spelling; original: the number that is read last. auto: what most answers are."""
    format: Format = "table"
    """How the result is written."""

    def run(self) -> None:
        """Write what asking several prompts and voting brings."""
        from prompt_oirl.selection.voting import vote

        log = self.read(self.log)
        found = vote(self.make_selector(), log, self.parser, self.seed)
        write_rows(found.rows, self.format)
        how = "as most of them can be read; --parser chooses" if self.parser == "auto" else "as asked for"
        say(f"note: answers are compared by --parser {found.parser}, {how}")
        if found.blank:
            text = "each is a call that was paid for and casts no vote"
            say(f"note: {found.blank:,} of {len(log.answer):,} answers are blank; {text}")
        if (log.counts == 0).any():
            text = "in a vote the next prompt is asked instead, and one call is estimated as evaluate does"
            say(f"note: some answers are not in the log; {text}")
        say(found.buy.sentence())


@dataclass(kw_only=True)
class ReportPage(LogArgument, LearnOptions):
    """Write everything known about a log as one HTML page that opens from disk.

    example: prompt-oirl report log.csv --out report.html
    """

    out: Path = Path("report.html")
    """The page."""
    title: str | None = None
    """Its title."""

    def run(self) -> None:
        """Write the HTML page on a log."""
        from prompt_oirl.reports.html import write_page
        from prompt_oirl.reports.own_log import make_report

        if self.out.is_dir():
            raise InputError(f"{self.out} is a folder: name the page, such as {self.out / 'report.html'}")
        from prompt_oirl.io.table_output import refuse_input_as_output

        refuse_input_as_output(self.out, self.log)
        log = self.read(self.log)
        name = ", ".join("log from stdin" if path == "-" else Path(path).name for path in self.log)
        made = make_report(self.make_selector(), log, self.title or name, self.seed, say)
        write_page(self.out, made)
        say(f"{made.verdict}: {' '.join(made.sentences)}")
        say(f"{self.out} opens in any browser")


Command = (
    Fit
    | Select
    | Evaluate
    | Diagnose
    | Vote
    | Grade
    | Serve
    | Value
    | Plan
    | Annotated[ReportPage, tyro.conf.subcommand("report")]
    | Annotated[Import, tyro.conf.subcommand("import")]
)
