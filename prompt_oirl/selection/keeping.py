"""Where a fitted selector is kept: in a folder, or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from prompt_oirl.features.embedders import Embedder
from prompt_oirl.selection import hub, storage

if TYPE_CHECKING:
    from prompt_oirl.selection.selector import PromptSelector

Selector = TypeVar("Selector", bound="Keeping")


class Keeping:
    """The part of `PromptSelector` that saves and loads."""

    def check_fitted(self) -> None:
        """Raises scikit-learn's NotFittedError before `fit`."""
        if not hasattr(self, "model_"):
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(self, "model_")

    def save(self, folder: str | Path) -> Path:
        """Write selector.json, the files it names and a model card; the old selector stays whole until the
        new one is."""
        self.check_fitted()
        return storage.save(cast("PromptSelector", self), Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        revision: str | None = None,
        commit_message: str = "Selector of prompts",
    ) -> str:
        """Put what `save` writes on the hub, with HF_TOKEN or the login of `hf auth login`; returns where.

        Parameters
        ----------
        repo_id : owner/name; made where it is missing
        private : of a repository that is made: the selector holds the texts of your prompts
        revision : branch; default: main
        commit_message : of the commit

        Raises: InputError where the hub refuses or cannot be reached.
        """
        self.check_fitted()
        return hub.push(cast("PromptSelector", self), repo_id, private, revision, commit_message)

    @classmethod
    def load(
        cls: type[Selector],
        folder: str | Path,
        embedder: Embedder | str | None = None,
        *,
        revision: str | None = None,
    ) -> Selector:
        """Read what `save` or `push_to_hub` wrote; nothing in it is run.

        Parameters
        ----------
        folder : of the selector; or owner/name on the hub, where no folder of the owner's name is here
        embedder : what made the vectors; needed only if that was an object of your own, or a
            sentence-transformers folder or hub id, which may bring code with it
        revision : branch, tag or commit on the hub; default: main
        """
        found = storage.load(cast("type[PromptSelector]", cls), hub.located(folder, revision), embedder)
        return cast(Selector, found)
