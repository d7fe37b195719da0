"""Sentences about files that others wrote: numbers with their nouns, and no keys."""

from __future__ import annotations

import re

_KEY = re.compile(
    r"""(?xi)
    (?P<before>
        \bbearer \s+
      | \b(?:x-)?api[ _-]?key (?:\s+provided)? ["'\s]* [:=] \s* ["']?
      | [?&](?:key|token|sig|signature) =
    ) [^\s"',;&)]{6,}
    | \b(?:sk|pk|rk|gsk|xai|hf|ghp|pplx|r8) [-_] (?: (?=[\w*.-]*[\d*]) [\w*.-]{6,} | [\w*.-]{16,} )
    | \bAIza [\w*-]{10,} | \bAKIA \w{10,} | \beyJ [\w-]{8,} (?:\.[\w-]+)+
    """
)


def without_keys(text: str) -> str:
    """A server's text with "***" for what looks like a key: servers repeat the one they refuse."""
    return _KEY.sub(lambda found: f"{found['before'] or ''}***", text)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 answer", "2,000 answers"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
