"""Use a report page as a reader would, in headless Chromium, and fail if anything is wrong with it.

    python scripts/check_report.py report.html --pictures pictures/

Searches, filters, sorts, turns pages, opens a row with the keyboard; on a desktop and a phone, light and dark. Fails
on a console error, a request to anywhere, a dialog, text of the log that became markup, or a page wider than the
screen. `--pictures` keeps screenshots. Where there is no browser it says so and ends with status 3.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from prompt_oirl.io.files import InputError, require
from prompt_oirl.io.manifest import run_step

NO_BROWSER = 3
SCREENS = {"desktop": (1280, 900), "phone": (375, 740)}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PER_PAGE = 25


@dataclass
class Args:
    page: tyro.conf.Positional[Path]
    """The HTML file that `prompt-oirl report` wrote."""
    pictures: Path | None = None
    """Folder for screenshots."""


def main(args: Args) -> None:
    require(args.page, "make it with prompt-oirl report LOG --out report.html")
    with browser() as chromium:
        for screen, (width, height) in SCREENS.items():
            for scheme in ("light", "dark"):
                tab, problems = opened(chromium, args.page, width, height, scheme)
                if scheme == "light":
                    use(tab, phone=screen == "phone")
                check(not problems, f"{screen}, {scheme}: {problems}")
                if args.pictures:
                    picture(tab, args.pictures, f"{screen}_{scheme}")
                tab.context.close()
    print(
        f"{args.page}: opens, searches, sorts, pages; no error, no request, on {' and '.join(SCREENS)}, light and dark"
    )


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium: Playwright's own, or one that is installed."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        print("skipped: playwright is not installed (pip install playwright)", file=sys.stderr)
        raise SystemExit(NO_BROWSER) from None
    with sync_playwright() as playwright:
        found = None
        for path in (None, *filter(None, map(shutil.which, BROWSERS))):
            try:
                found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
                break
            except Error:
                continue
        if found is None:
            print("skipped: there is no Chromium here (playwright install chromium)", file=sys.stderr)
            raise SystemExit(NO_BROWSER)
        yield found
        found.close()


def opened(chromium: Any, path: Path, width: int, height: int, scheme: str) -> tuple[Any, list[str]]:
    """The page in a tab, and a list that grows with everything that goes wrong there."""
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5
    )
    tab, problems = context.new_page(), []
    url = path.resolve().as_uri()
    tab.on(
        "console",
        lambda message: (
            problems.append(f"console: {message.text}") if message.type in ("error", "warning") else None
        ),
    )
    tab.on("pageerror", lambda error: problems.append(f"error: {error}"))
    tab.on(
        "request",
        lambda request: (
            problems.append(f"request: {request.url}") if request.url not in (url, "data:,") else None
        ),
    )
    tab.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}") or dialog.dismiss())  # type: ignore[func-returns-value]
    tab.goto(url)
    tab.wait_for_selector("#rows tr")
    return tab, problems


def use(tab: Any, phone: bool) -> None:
    """What a reader does; every step is checked against the data on the page."""
    data = json.loads(tab.text_content("#data"))
    total = len(data["questions"])

    def numbers() -> list[int]:
        return [
            int(text) - 1
            for text in tab.eval_on_selector_all(
                "#rows > tr:not(.detail) > td:first-child", "cells => cells.map(c => c.textContent)"
            )
        ]

    check(
        tab.evaluate("document.documentElement.scrollWidth <= innerWidth"),
        "the page is wider than the screen",
    )
    check(
        tab.evaluate(
            "[...document.querySelectorAll('main script, main img, main iframe, main a, main [style]')].length"
        )
        == 0,
        "markup came from the log",
    )
    check(numbers() == list(range(min(total, PER_PAGE))), "the list does not start in the log's order")
    first = tab.inner_text(".verdict")
    check(
        tab.evaluate("document.querySelector('main').firstElementChild.className").startswith("verdict")
        and first.strip() != "",
        "the verdict is not first",
    )

    word = max(data["questions"][total // 2][0].split() or [""], key=len)
    expected = [
        i
        for i, row in enumerate(data["questions"])
        if word.lower() in (row[0] + "\n" + data["prompts"][row[1]]["name"]).lower()
    ]
    tab.fill("#search", word)
    check(numbers() == expected[:PER_PAGE], f"the search for {word!r} does not find what holds it")
    check(
        tab.inner_text("#count").startswith(f"{len(expected):,} of "), "the count is not that of the search"
    )
    tab.fill("#search", "no question holds this, surely")
    check(numbers() == [], "an impossible search finds something")
    tab.fill("#search", "")

    tab.select_option("#filter", "moved")
    check(
        numbers() == [i for i, row in enumerate(data["questions"]) if row[1] != row[2]][:PER_PAGE],
        "the filter is wrong",
    )
    tab.select_option("#filter", "all")

    scores = [row[3][row[1]] for row in data["questions"]]
    upward = sorted(range(total), key=lambda i: (scores[i], i))
    if phone:
        tab.select_option("#sort", "score")
    else:
        tab.click("th [data-sort=score]")
        check(
            tab.get_attribute("th:has([data-sort=score])", "aria-sort") == "ascending",
            "the heading does not say how it sorts",
        )
    check(numbers() == upward[:PER_PAGE], "sorting by score is wrong")
    tab.focus("#direction")
    tab.keyboard.press("Enter")
    downward = sorted(range(total), key=lambda i: (-scores[i], i))
    check(numbers() == downward[:PER_PAGE], "sorting downwards by keyboard is wrong")
    if total > PER_PAGE:
        tab.click("#next")
        check(numbers() == downward[PER_PAGE : 2 * PER_PAGE], "the second page is wrong")
        tab.click("#last")
        check(numbers() == downward[(total - 1) // PER_PAGE * PER_PAGE :], "the last page is wrong")
        tab.fill("#page", "1")
        tab.keyboard.press("Enter")
    tab.select_option("#sort", "number")
    tab.click("#direction")

    tab.focus(".question")
    tab.keyboard.press("Enter")
    check(tab.get_attribute(".question", "aria-expanded") == "true", "a row does not open by keyboard")
    check(
        tab.text_content("tr.detail .all") == data["questions"][0][0],
        "an open row does not show its whole question",
    )
    names = tab.eval_on_selector_all("tr.detail tbody bdi", "cells => cells.map(c => c.textContent)")
    check(
        sorted(names) == sorted(p["name"] for p in data["prompts"]), "an open row does not show every prompt"
    )
    check(
        tab.evaluate("document.documentElement.scrollWidth <= innerWidth"),
        "an open row is wider than the screen",
    )
    tab.keyboard.press("Enter")
    check(tab.query_selector("tr.detail") is None, "a row does not close by keyboard")
    tab.keyboard.press("Enter")


def check(fine: bool, problem: str) -> None:
    if not fine:
        raise InputError(problem)


def picture(tab: Any, folder: Path, name: str) -> None:
    """The parts of the page as they stand on the screen."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, selector in {"top": "header", "figures": ".charts >> nth=1", "questions": "#questions"}.items():
        tab.eval_on_selector(selector, "part => part.scrollIntoView()")
        tab.screenshot(path=folder / f"{name}_{part}.png")


if __name__ == "__main__":
    run_step(main, Args)
