"""The README as PyPI shows it: links that lead into the repository are absolute, or plain text."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)\s]*)\)")


def readme_for_pypi(readme: str, repository: str = "") -> str:
    """The README without links and pictures that only work beside its files.

    Parameters
    ----------
    repository : address of the repository's files; "": not known, then links become their text
    """

    def replaced(found: re.Match[str]) -> str:
        picture, text, target = found.groups()
        if repository:
            return f"{picture}[{text}]({repository.rstrip('/')}/{'raw' if picture else 'blob'}/main/{target})"
        return "" if picture else text

    return _LINK.sub(replaced, re.sub(r"<!--.*?-->\n?", "", readme, flags=re.S))


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=readme_for_pypi(
            (ROOT / "README.md").read_text(encoding="utf-8"), project["urls"].get("Repository", "")
        ),
        long_description_content_type="text/markdown",
    )
