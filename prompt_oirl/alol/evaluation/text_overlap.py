"""How much of a response is copied: from the knowledge it must keep to, or shared with the logged one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prompt_oirl.io.extras import missing
from prompt_oirl.io.files import InputError


def fragments(source: Sequence[str], text: Sequence[str]) -> list[int]:
    """Lengths of the extractive fragments of a text: longest runs of words that stand in the source.

    Parameters
    ----------
    source : words that may be copied
    text : words, read from the left; each run is as long as can be

    Source: Grusky et al. 2018, Figure 3. A single word is a fragment, as in their library; the code published
    with A-LoL leaves single words out.
    """
    lengths, at = [], 0
    while at < len(text):
        longest = 0
        for start in range(len(source)):
            n = 0
            while at + n < len(text) and start + n < len(source) and text[at + n] == source[start + n]:
                n += 1
            longest = max(longest, n)
        if longest:
            lengths.append(longest)
        at += max(longest, 1)
    return lengths


def coverage_and_density(source: str, text: str) -> dict[str, float]:
    """`coverage`, share of a text's words in extractive fragments, and `density`, their mean squared length
    per word.

    Parameters
    ----------
    source, text : split at white space, as published; of a text without words both are 0

    Source: Grusky et al. 2018, Equations 1 and 2.
    """
    words = text.split()
    found, n = fragments(source.split(), words), max(1, len(words))
    return {"coverage": sum(found) / n, "density": sum(length**2 for length in found) / n}


def meteor(references: Sequence[str], texts: Sequence[str], wordnet: Any = None) -> list[float]:
    """METEOR of each text against its reference, words split at white space.

    Parameters
    ----------
    references, texts : n of each
    wordnet : where synonyms are looked up; default: NLTK's WordNet

    Raises: InputError if NLTK or its WordNet is not there.
    Source: Banerjee and Lavie 2005, with NLTK's parameters, as published.
    """
    try:
        from nltk.corpus import wordnet as nltk_wordnet
        from nltk.translate.meteor_score import single_meteor_score

        wordnet = wordnet or nltk_wordnet
        wordnet.synsets("word")
    except ImportError as error:
        raise missing("--meteor needs NLTK", "train") from error
    except LookupError as error:
        raise InputError("--meteor needs NLTK's WordNet: python -m nltk.downloader wordnet") from error
    pairs = zip(references, texts)
    return [float(single_meteor_score(a.split(), b.split(), wordnet=wordnet)) for a, b in pairs]
