"""meta_prompts.txt: what was sent to the optimizer, what came back and what became of it, for people to
read."""

from __future__ import annotations

from collections.abc import Iterator

from prompt_oirl.opro.loop import START, Candidate, Run

RULE = "=" * 78


def page(run: Run) -> str:
    """The whole page: for every step its meta-prompt as sent, then each reply as it came and its fate."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: Run) -> Iterator[str]:
    yield f"Task {run.task.name}, proposer {run.proposer.name}, seed {run.seed}."
    yield "Each step: the meta-prompt as it was sent, and the raw replies; an arrow says what became of one."
    for candidate in (c for c in run.candidates if c.step == START):
        text = candidate.prompt.text if candidate.prompt else ""
        yield f"\ninitial instruction: {text or '(empty)'}\n--> {fate(candidate)}"
    for step, sent in enumerate(run.meta_prompts):
        yield f"\n{RULE}\nSTEP {step}: the meta-prompt\n{RULE}\n{readable(sent)}"
        for candidate in (c for c in run.candidates if c.step == step):
            reply = run.proposer.known[step, candidate.sample].output
            yield f"\n----- step {step}, reply {candidate.sample} -----\n{readable(reply)}"
            yield f"--> {fate(candidate)}"


def fate(candidate: Candidate) -> str:
    """What became of a candidate, in words: its verdict and its scores."""
    said = [candidate.verdict]
    if candidate.prompt and candidate.step != START:
        said.append(f"read as: {candidate.prompt.text or '(empty)'}")
    for part, score in (
        ("train", candidate.train),
        ("validation", candidate.validation),
        ("test", candidate.test),
    ):
        if score is not None:
            said.append(f"{part} {score.mean:.1%} of {len(score.values)}, {score.kind}")
    return "; ".join(said)


def readable(text: str) -> str:
    """The text without what moves a terminal's cursor: control characters become spaces, lines stay."""
    return "".join(c if c == "\n" or c.isprintable() else " " for c in text)
