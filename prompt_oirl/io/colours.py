"""NO_COLOR and FORCE_COLOR for the help texts, the only thing here that is coloured."""

from __future__ import annotations

import os


def heed_colour_variables() -> None:
    """Colour help texts as NO_COLOR and FORCE_COLOR ask; without them, on terminals only."""
    import tyro
    from tyro import _fmtlib

    force = os.environ.get("FORCE_COLOR", "")
    tyro._experimental_options["ansi_codes"] = not os.environ.get("NO_COLOR")
    _fmtlib._FORCE_ANSI = force not in ("", "0")  # tyro has no public name for it
