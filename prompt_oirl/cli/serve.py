"""`prompt-oirl serve`: the selector between clients and an LLM server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from prompt_oirl.cli.output import say
from prompt_oirl.io.extras import need
from prompt_oirl.serving.settings import ServeSettings


@dataclass(kw_only=True)
class Serve(ServeSettings):
    """Serve an OpenAI-compatible LLM with the prompt that is best for each question, and log the answers.

    example: prompt-oirl serve selector --upstream http://127.0.0.1:8000/v1
    """

    selector: tyro.conf.Positional[Path]
    """Folder that `prompt-oirl fit` wrote; it is loaded anew when it changes."""

    def run(self) -> None:
        """Serve until the process is stopped."""
        need("serving", "serve")
        from prompt_oirl.serving.server import serve

        serve(self.selector, self, say)
