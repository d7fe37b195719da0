"""Signatures of selectors: who changes a selector can compute its hashes anew, but not these without the key.

A signature is the HMAC-SHA256 (RFC 2104) of what selector.json says, the hashes of all files included.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prompt_oirl.io.files import InputError

KEY = "PROMPT_OIRL_SIGNING_KEY"  # environment variable
SHORTEST_KEY = 16  # characters
HOW = "such as of openssl rand -hex 32"


def check_key() -> None:
    """Refuse to go on without a key to sign with."""
    if _key() is None:
        raise InputError(f"--sign needs a key in the environment variable {KEY}, {HOW}")


def signature_of(header: Mapping[str, Any]) -> str | None:
    """The signature, 64 hexadecimal digits; None without a key in the environment.

    Parameters
    ----------
    header : what selector.json says, without signature and check
    """
    key = _key()
    if key is None:
        return None
    return hmac.new(key, json.dumps(header, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def check_signature(header: Mapping[str, Any], signature: object, path: Path) -> None:
    """Refuse, where there is a key, a selector that was not signed with it.

    Parameters
    ----------
    header : what selector.json says, without signature and check
    signature : what it says of that, whatever it is
    path : of selector.json, for the complaint
    """
    expected = signature_of(header)
    if expected is None:
        return
    if signature is None:
        raise InputError(
            f"{path} is not signed: fit again with --sign, or unset {KEY} to load it all the same"
        )
    if not hmac.compare_digest(str(signature).encode("utf-8", "replace"), expected.encode()):
        raise InputError(
            f"{path} is not signed with the key in {KEY}: it was altered, or signed with another "
            "key; get the selector anew from where it was fitted"
        )


def _key() -> bytes | None:
    given = os.environ.get(KEY)
    if given is None:
        return None
    if len(given) < SHORTEST_KEY:
        raise InputError(
            f"the key in {KEY} has fewer than {SHORTEST_KEY} characters: set a longer one, {HOW}"
        )
    return given.encode("utf-8", "surrogateescape")
