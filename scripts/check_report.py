"""Use a report page as a reader would, in headless Chromium, and fail if anything is wrong with it.

    python scripts/check_report.py report.html --pictures pictures/

Searches, filters, sorts, turns pages, opens a row with the keyboard; on a desktop and a phone, light and
dark. Fails on a console error, a request, a dialog, text of the log that became markup, or a page wider than
the screen. `--pictures` keeps screenshots. Without a browser it says so and ends with status 3.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from prompt_oirl.io.files import InputError, require
from prompt_oirl.io.manifest import run_step

NO_BROWSER = 3
SCREENS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 375, "height": 740}}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PER_PAGE = 25
FITS = "document.documentElement.scrollWidth <= innerWidth"


@dataclass
class Args:
    page: tyro.conf.Positional[Path]
    """The HTML file that `prompt-oirl report` wrote."""
    pictures: Path | None = None
    """Folder for screenshots."""


def main(args: Args) -> None:
    """Use the page on every screen, light and dark."""
    require(args.page, "make it with prompt-oirl report LOG --out report.html")
    with browser() as chromium:
        for screen, scheme in product(SCREENS, ("light", "dark")):
            tab, problems = opened(chromium, args.page, screen, scheme)
            if scheme == "light":
                use(tab, phone=screen == "phone")
            check(not problems, f"{screen}, {scheme}: {problems}")
            if args.pictures:
                picture(tab, args.pictures, f"{screen}_{scheme}")
            tab.close()
    print(f"{args.page}: opens, searches, sorts, pages; no error, no request, on {' and '.join(SCREENS)}")


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium: Playwright's own, or one that is installed."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        print("skipped: playwright is not installed (pip install playwright)", file=sys.stderr)
        raise SystemExit(NO_BROWSER) from None
    with sync_playwright() as playwright:
        for path in (None, *filter(None, map(shutil.which, BROWSERS))):
            with suppress(Error):
                found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                break
        else:
            print("skipped: there is no Chromium here (playwright install chromium)", file=sys.stderr)
            raise SystemExit(NO_BROWSER)
        yield found
        found.close()


def opened(chromium: Any, path: Path, screen: str, scheme: str) -> tuple[Any, list[str]]:
    """The page in a tab, and a list that grows with everything that goes wrong there."""
    url = path.resolve().as_uri()
    tab = chromium.new_page(viewport=SCREENS[screen], color_scheme=scheme, device_scale_factor=1.5)
    problems: list[str] = []

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"console: {message.text}")

    def on_request(request: Any) -> None:
        if request.url not in (url, "data:,"):
            problems.append(f"request: {request.url}")

    def on_dialog(dialog: Any) -> None:
        problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    tab.on("console", on_console)
    tab.on("pageerror", lambda error: problems.append(f"error: {error}"))
    tab.on("request", on_request)
    tab.on("dialog", on_dialog)
    tab.goto(url)
    tab.wait_for_selector("#rows tr")
    return tab, problems


def use(tab: Any, phone: bool) -> None:
    """What a reader does; every step is checked against the data on the page."""
    data = json.loads(tab.text_content("#data"))
    markup = tab.query_selector("main script, main img, main iframe, main a, main [style]")
    check(markup is None, "markup came from the log")
    check(tab.evaluate(FITS), "the page is wider than the screen")
    verdict = tab.query_selector("main > .verdict:first-child")
    check(verdict is not None and verdict.inner_text().strip() != "", "the verdict is not first")
    check_rows(tab, range(len(data["questions"])), "the list does not start in the log's order")
    search_and_filter(tab, data)
    sort_and_turn_pages(tab, data, phone)
    open_a_row(tab, data)


def search_and_filter(tab: Any, data: dict[str, Any]) -> None:
    """Find a word, find nothing, show the moved questions only."""
    questions = data["questions"]
    word = max(questions[len(questions) // 2][0].split() or [""], key=len)
    texts = [row[0] + "\n" + data["prompts"][row[1]]["name"] for row in questions]
    expected = [i for i, text in enumerate(texts) if word.lower() in text.lower()]
    tab.fill("#search", word)
    check_rows(tab, expected, f"the search for {word!r} does not find what holds it")
    count = f"{len(expected):,} of "
    check(tab.inner_text("#count").startswith(count), "the count is not that of the search")
    tab.fill("#search", "no question holds this, surely")
    check_rows(tab, [], "an impossible search finds something")
    tab.fill("#search", "")
    tab.select_option("#filter", "moved")
    check_rows(tab, [i for i, row in enumerate(questions) if row[1] != row[2]], "the filter is wrong")
    tab.select_option("#filter", "all")


def sort_and_turn_pages(tab: Any, data: dict[str, Any], phone: bool) -> None:
    """Sort by score both ways, see the second and the last page, come back."""
    scores = [row[3][row[1]] for row in data["questions"]]
    if phone:
        tab.select_option("#sort", "score")
    else:
        tab.click("th [data-sort=score]")
        sorted_up = tab.query_selector("th[aria-sort=ascending] [data-sort=score]") is not None
        check(sorted_up, "the heading does not say how it sorts")
    upward = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    check_rows(tab, upward, "sorting by score is wrong")
    tab.press("#direction", "Enter")
    downward = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    check_rows(tab, downward, "sorting downwards by keyboard is wrong")
    if len(scores) > PER_PAGE:
        tab.click("#next")
        check_rows(tab, downward[PER_PAGE:], "the second page is wrong")
        tab.click("#last")
        check_rows(tab, downward[(len(scores) - 1) // PER_PAGE * PER_PAGE :], "the last page is wrong")
        tab.fill("#page", "1")
        tab.press("#page", "Enter")
    tab.select_option("#sort", "number")
    tab.click("#direction")


def open_a_row(tab: Any, data: dict[str, Any]) -> None:
    """Open, close and open the first row by keyboard."""
    tab.press(".question", "Enter")
    check(tab.get_attribute(".question", "aria-expanded") == "true", "a row does not open by keyboard")
    text = tab.text_content("tr.detail .all")
    check(text == data["questions"][0][0], "an open row does not show its whole question")
    names = tab.eval_on_selector_all("tr.detail tbody bdi", "cells => cells.map(c => c.textContent)")
    known = [prompt["name"] for prompt in data["prompts"]]
    check(sorted(names) == sorted(known), "an open row does not show every prompt")
    check(tab.evaluate(FITS), "an open row is wider than the screen")
    tab.press(".question", "Enter")
    check(tab.query_selector("tr.detail") is None, "a row does not close by keyboard")
    tab.press(".question", "Enter")


def check_rows(tab: Any, expected: Sequence[int], problem: str) -> None:
    """The page shows the first questions of `expected`, as many as fit on it."""
    cells = "#rows > tr:not(.detail) > td:first-child"
    shown = tab.eval_on_selector_all(cells, "cells => cells.map(c => Number(c.textContent) - 1)")
    check(shown == list(expected[:PER_PAGE]), problem)


def check(fine: bool, problem: str) -> None:
    """Raise InputError with `problem` unless `fine`."""
    if not fine:
        raise InputError(problem)


def picture(tab: Any, folder: Path, name: str) -> None:
    """The parts of the page as they stand on the screen."""
    for part, selector in {"top": "header", "figures": ".charts >> nth=1", "questions": "#questions"}.items():
        tab.eval_on_selector(selector, "part => part.scrollIntoView()")
        tab.screenshot(path=folder / f"{name}_{part}.png")


if __name__ == "__main__":
    run_step(main, Args)
