"""Selectors on the Hugging Face hub: selector.json and the tensors it names are fetched, nothing else.

They are then read as from any folder: hashes, and signatures where there is a key, are verified. Who may read
or write is the business of the hub's own client (HF_TOKEN, or `hf auth login`); no key passes through here.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from prompt_oirl.io.files import InputError, on_one_line
from prompt_oirl.io.model_cards import CARD
from prompt_oirl.selection import storage

if TYPE_CHECKING:
    from prompt_oirl.selection.selector import PromptSelector

TENSORS = ("model-*.safetensors", "embedder-*.safetensors")
_ID = re.compile(r"(\w[\w.-]*)/\w[\w.-]*", re.ASCII)


def located(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a selector, fetched from the hub if the name can only be one of the hub.

    Parameters
    ----------
    name : a folder; or owner/name, if neither that nor a folder called owner is here
    revision : branch, tag or commit on the hub

    Raises: InputError if the hub has no such selector, or cannot be asked.
    """
    folder = Path(name)
    found = _ID.fullmatch(folder.as_posix())
    if found is None or folder.exists() or Path(found[1]).exists():
        if revision is not None:
            raise InputError(
                f"{folder} is a folder, which has no revision: give owner/name of the hub with one"
            )
        return folder
    return _fetched(folder.as_posix(), revision)


def push(selector: PromptSelector, repo_id: str, private: bool, revision: str | None, message: str) -> str:
    """Save a selector as a commit on the hub; returns the commit's address.

    Parameters
    ----------
    selector : fitted
    repo_id, private, revision, message : as of `PromptSelector.push_to_hub`
    """
    client = _client()
    with TemporaryDirectory() as folder:
        storage.save(selector, Path(folder))
        try:
            api = client.HfApi()
            made = api.create_repo(repo_id, private=private, exist_ok=True)
            if revision is not None:
                api.create_branch(made.repo_id, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=made.repo_id,
                folder_path=folder,
                allow_patterns=[storage.HEADER, CARD, *TENSORS],
                delete_patterns=list(TENSORS),  # of an older selector
                commit_message=message,
                revision=revision,
            )
        except Exception as error:  # the client's own, the network's, and of a name that is none
            raise InputError(f"{repo_id} cannot be put on the hub ({_reason(error)})") from error
    return str(done.commit_url)


def _fetched(repo_id: str, revision: str | None) -> Path:
    client = _client()
    here = f"there is no folder {repo_id} here"
    try:
        return Path(
            client.snapshot_download(repo_id, revision=revision, allow_patterns=[storage.HEADER, *TENSORS])
        )
    except client.errors.RevisionNotFoundError as error:
        raise InputError(f"{here}, and {repo_id} on the hub has no revision {revision}") from error
    except client.errors.RepositoryNotFoundError as error:
        why = "correct the path; or, if it is private there, log in (hf auth login)"
        raise InputError(f"{here}, and the hub shows no {repo_id}: {why}") from error
    except Exception as error:  # as above
        raise InputError(
            f"{here}, and the hub cannot be asked for {repo_id} ({_reason(error)}): correct the path, or the "
            "connection"
        ) from error


def _client() -> Any:
    try:
        client = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.errors")
    except ImportError as error:
        raise InputError("the hub needs a package: pip install huggingface_hub") from error
    return client


def _reason(error: Exception) -> str:
    return on_one_line(f"{type(error).__name__}: {error}", 200)
