"""Results of others as logs: an importer is a function from files to the rows of a log.

A row (`Row`) has the columns that `read_log` takes: question, prompt, correct (0 to 1), and optionally
answer, llm, sample and segment. One module per origin; each function says whose verdict `correct` is.
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
