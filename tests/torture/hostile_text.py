"""Hostile texts as questions, prompts and answers: page, terminal, CSV, figures and file names stay whole."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
from html.parser import HTMLParser
from pathlib import Path

from prompt_oirl.io.files import is_file_name
from torture.commands import CLI, TFIDF, some_name

CASES = ("page", "terminal", "select", "import", "file names", "figure")
PARTS = (
    *(
        "<script>alert(1)</script>",
        "</style>",
        "]]>",
        "<!--",
        "&lt;",
        "'\"><img src=x onerror=alert(1)>",
        "${7*7}",
    ),
    *(
        "\x1b[2J",
        "\x1b]0;x\x07",
        "\r",
        "\n",
        "\t",
        "\x00",
        "\u2028",
        "\u202e",
        "\u200b",
        "\ufeff",
        "\x85",
        "\x9b31m",
    ),
    *(
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(1)",
        ",",
        ";",
        '"',
        "'",
        "\\",
        "%s%n",
        "{question}",
        "{0.__class__}",
    ),
    *(
        "$x^$",
        "\\frac{",
        "_{",
        "../../etc/passwd",
        "/dev/null",
        "CON",
        "a" * 5000,
        "\U0001f600",
        "e\u0301",
        "ﷺ",
    ),
    *("NaN", "null", "1e999", "١٢", "Answer: 7"),
)


def text(rng: random.Random) -> str:
    """Some parts in a row; never white space alone."""
    return "q" + "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 6)))


class Tags(HTMLParser):
    """Scripts, and tags and attributes that would run something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.bad: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.bad += [name for name, _ in attrs if name.startswith("on")]
        self.bad += [tag] if tag in ("img", "iframe", "object", "embed", "base") else []
        self.bad += [
            v or "" for k, v in attrs if k in ("href", "src") and not (v or "").startswith(("#", "data:"))
        ]
        self.inside = tag == "script" and ("type", "application/json") not in attrs  # that is data

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = False


def log_of(rng: random.Random, folder: Path) -> Path:
    """A log of such texts, as JSON lines, which hold each of them."""
    prompts, path = [text(rng) for _ in range(3)], folder / "log.jsonl"
    rows = [
        {"question": f"{i} {text(rng)}", "prompt": p, "correct": int(rng.random() < 0.5), "answer": text(rng)}
        for i in range(24)
        for p in prompts
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def attempt(case: str, rng: random.Random, work: Path) -> None:
    """One run over such texts."""
    folder = some_name(rng, work)
    folder.mkdir()
    {"file names": _file_names, "figure": _figure}.get(case, lambda r, f: _command(case, r, f))(rng, folder)


def _command(case: str, rng: random.Random, folder: Path) -> None:
    log = log_of(rng, folder)
    lines = {
        "page": ["report", log.name, "--out", "page.html", "--title", text(rng).replace("\0", ""), *TFIDF],
        "terminal": ["evaluate", log.name, *TFIDF],
        "select": ["fit", log.name, "--out", "selector", *TFIDF],
        "import": ["import", "log", log.name, "--out", "new.csv"],
    }
    done = _run(folder, lines[case])
    if case == "page" and done.returncode == 0:
        tags = Tags()
        tags.feed((folder / "page.html").read_text(encoding="utf-8"))
        assert not tags.bad and not [s for s in tags.scripts if "alert(1)" in s], tags.bad
    if case == "select" and done.returncode == 0:
        form = ["--format", "csv", "--excel-safe"]
        chosen = _run(folder, ["select", "selector", log.name, *form])
        assert chosen.returncode == 0, chosen.stderr
        rows = list(csv.reader(io.StringIO(chosen.stdout.decode(), newline="")))
        assert {len(row) for row in rows} == {len(rows[0])}
        cells = [cell for row in rows[1:] for cell in (row[0], row[2])]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def _run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([*CLI, *arguments], cwd=folder, capture_output=True, timeout=300)
    said = done.stderr.decode()
    assert done.returncode in (0, 1) and "Traceback" not in said, said[-2000:]
    assert done.returncode == 0 or said.strip().splitlines()[-1].startswith("error: "), said
    assert all(line.isprintable() for line in said.split("\n")), ascii(said[-2000:])
    if arguments[0] == "evaluate":
        assert all(line.isprintable() for line in done.stdout.decode().split("\n"))
    return done


def _file_names(rng: random.Random, folder: Path) -> None:
    for name in (text(rng), text(rng)[1:], rng.choice(PARTS)):
        if is_file_name(name):
            (folder / name).write_text("x")
            assert (folder / name).parent == folder and name.isascii() and name.isprintable()


def _figure(rng: random.Random, folder: Path) -> None:
    from prompt_oirl.opro.runs import draw_steps

    table = [{"step": str(i), "best_so_far": "0.5", "mean": "0.25", "sd": "0.1"} for i in range(-1, 3)]
    draw_steps([table], text(rng), folder / "figure.png")
    assert (folder / "figure.png").read_bytes()[:4] == b"\x89PNG"
