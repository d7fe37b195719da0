"""Check the pages that `make docs` wrote: every link and anchor, nothing from elsewhere, no stray Markdown.

    python scripts/check_site.py build/site --pictures build/pictures

`--pictures` also shows every page in headless Chromium on a wide and a narrow screen and keeps screenshots.
It fails where a page is wider than its screen, asks for something elsewhere or logs an error, or where the
search finds nothing; without a browser it ends with status 3.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tyro

from prompt_oirl.io.files import InputError, require
from prompt_oirl.io.manifest import run_step

SCREENS = {"wide": {"width": 1400, "height": 900}, "narrow": {"width": 390, "height": 840}}
FITS = "document.documentElement.scrollWidth <= innerWidth"
STRAY = re.compile(r"^\s*(?:[-*] |\d+\. |\|.*\||```|#+ )", re.M)


@dataclass
class Args:
    site: tyro.conf.Positional[Path]
    """The folder that mkdocs wrote."""
    pictures: Path | None = None
    """Folder for screenshots."""


class Page(HTMLParser):
    """What a page links to, loads and can be linked at, and the text of its paragraphs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.paragraphs: list[str] = []
        self._inside = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, links and what is loaded; a paragraph begins."""
        found = {name: value or "" for name, value in attrs}
        self.ids.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in found:
            self.loads.append(found["src"])
        if tag == "link" and "canonical" not in found.get("rel", "") and "href" in found:
            self.loads.append(found["href"])
        if tag == "p":
            self.paragraphs.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        """A paragraph ends."""
        self._inside = self._inside and tag != "p"

    def handle_data(self, data: str) -> None:
        """Text of a paragraph."""
        if self._inside:
            self.paragraphs[-1] += data


def main(args: Args) -> None:
    """Check every page."""
    require(args.site / "index.html", "make it with make docs")
    pages = {path: Page(path) for path in sorted(args.site.rglob("*.html"))}
    problems = [
        f"{path.relative_to(args.site)}: {problem}"
        for path, page in pages.items()
        for problem in problems_of(args.site, path, page, pages)
    ]
    if problems:
        print("\n".join(problems))
        raise InputError(f"faults in the pages: {len(problems)}")
    links = sum(len(page.links) for page in pages.values())
    print(f"{args.site}: {len(pages)} pages, {links:,} links, none dead; nothing is loaded from elsewhere")
    if args.pictures is not None:
        take_pictures(args.site, list(pages), args.pictures)


def problems_of(site: Path, path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    """What is wrong with a page.

    Parameters
    ----------
    path : where it lies
    pages : all pages, by where they lie
    """
    for link in dict.fromkeys([*page.links, *page.loads]):
        url = urlsplit(link)
        if url.scheme or url.netloc:
            if link in page.loads and url.scheme != "data":
                yield f"loads {link}"
            continue
        start = site if url.path.startswith("/") else path.parent
        target = (start / unquote(url.path).lstrip("/")).resolve() if url.path else path.resolve()
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            yield f"links to {link}, which is not there"
            continue
        at = next((pages[known] for known in pages if known.resolve() == target), None)
        if at is not None and url.fragment and unquote(url.fragment) not in at.ids:
            yield f"links to {link}, which has no such heading"
    for text in page.paragraphs:
        if found := STRAY.search(text):
            yield f"shows Markdown as text: {text[found.start() :][:80]!r}"


def take_pictures(site: Path, pages: list[Path], folder: Path) -> None:
    """Show the pages on both screens, and keep what is seen first."""
    from check_report import browser

    folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    asked: set[str] = set()
    with served(site) as address, browser() as chromium:
        for screen, size in SCREENS.items():
            tab: Any = chromium.new_page(viewport=size)
            tab.on("pageerror", lambda error: problems.append(f"error: {error}"))
            tab.on("request", lambda request: asked.add(request.url))
            for page in pages:
                tab.goto(f"{address}/{page.relative_to(site).as_posix()}")
                if not tab.evaluate(FITS):
                    problems.append(f"{page.name} is wider than the {screen} screen")
                tab.screenshot(path=folder / f"{page.stem}_{screen}.png")
            tab.goto(f"{address}/index.html")
            tab.keyboard.press("/")
            tab.keyboard.type("abstain_below")
            tab.wait_for_selector(".md-search-result__item >> text=own logs")
            tab.screenshot(path=folder / f"search_{screen}.png")
            tab.close()
        problems += [f"request: {url}" for url in sorted(asked) if not url.startswith(address)]
    if problems:
        print("\n".join(dict.fromkeys(problems)))
        raise InputError("the pages do not fit, or ask for something")


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The site at an address of this machine; the search works only so."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


if __name__ == "__main__":
    run_step(main, Args)
