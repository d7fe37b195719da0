"""Near-duplicate questions: the same problem with other numbers or a word changed.

Numbers are masked, for a word problem with other numbers is the same problem. Where a text holds little but
numbers ("Make 24 of 4, 5, 6 and 10"), they are the problem, and it keeps them.

Texts that stand for one problem must stay on one side of every split, and intervals must count them once.
No embedding and no label takes part, so nothing a model learns from can shape its own test.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from prompt_oirl.io.extras import missing

if TYPE_CHECKING:  # what is imported here takes a second, and choosing does without
    from scipy.sparse import csr_matrix

EXACT_LIMIT = 50_000  # distinct texts up to which all pairs are compared
HASHES = 128
FEW_GROUPS = 25  # different texts; with fewer nothing can be learned or tested
_WORD = re.compile(r"\b\w\w+\b")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NUMBERS_AND_SIGNS = re.compile(rf"{_NUMBER.pattern}|[-+*/×÷^%=<>]")
# A word, or one sign of a script without spaces.
LETTERS = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+"
# Of a text's words and numbers: "What is 3 + 4?" has .50. Word problems reach .40 (MAWPS), and more only with
# many words (options that are dates).
MOSTLY_NUMBERS, FEW_WORDS = 0.4, 10


def cluster_texts(texts: Sequence[str], threshold: float = 0.6) -> np.ndarray:
    """Cluster id, int64 (n,), of each text; ids count up in order of first appearance.

    Lower case, every number replaced by 0, word 1-2-grams weighted by TF-IDF with sublinear tf over the
    distinct texts (words of two letters or more, so the masked numbers drop out); a cosine of at least
    `threshold` joins two texts, and joins are transitive. Texts made mostly of numbers stay in one cluster
    only where their numbers and signs are the same.
    """
    if not len(texts):
        return np.zeros(0, dtype=np.int64)
    distinct, index = np.unique(np.array(texts, dtype=object), return_inverse=True)
    masked = masked_numbers(distinct.tolist())
    vectors = _tfidf(masked)
    # Texts that differ in numbers alone have one vector: of a log of sums, a few remain to be compared.
    wordless = np.diff(vectors.indptr) == 0
    keys = np.where(wordless, distinct, np.array(masked, dtype=object))
    _, kept, same = np.unique(keys, return_index=True, return_inverse=True)
    vectors = vectors[kept]
    if len(kept) <= EXACT_LIMIT:
        found = _all_close_pairs(vectors, threshold)
    else:
        found = iter([_likely_close_pairs([masked[i] for i in kept], vectors, threshold)])
    component = np.arange(len(kept))
    for one, two in found:
        component = connected_groups(component[one], component[two], len(kept))[component]
    signs = [tuple(_NUMBERS_AND_SIGNS.findall(text)) if mostly_numbers(text) else () for text in distinct]
    clusters = in_order_of_appearance(list(zip(component[same].tolist(), signs)))
    return in_order_of_appearance(clusters[index])


def _tfidf(texts: Sequence[str]) -> csr_matrix:
    """TF-IDF with sublinear tf of words and pairs of neighbouring words, float64 (n, vocabulary), of length
    1, or 0 without a word: the numbers of scikit-learn's TfidfVectorizer, which takes a second to import."""
    from scipy.sparse import csr_matrix

    counts = [Counter(_words_and_pairs(text)) for text in texts]
    column = {term: j for j, term in enumerate(sorted(set().union(*counts)))}
    indices = np.array([column[term] for terms in counts for term in terms], dtype=np.int64)
    times = np.array([n for terms in counts for n in terms.values()], dtype=np.float64)
    lengths = np.array([len(terms) for terms in counts])
    found_in = np.bincount(indices, minlength=max(len(column), 1))
    weights = (1 + np.log(times)) * (np.log((1 + len(texts)) / (1 + found_in)) + 1)[indices]
    norms = np.sqrt(np.bincount(np.repeat(np.arange(len(texts)), lengths), weights**2, len(texts)))
    indptr = np.concatenate([[0], lengths.cumsum()])
    vectors = csr_matrix(
        (weights / np.repeat(norms, lengths), indices, indptr), shape=(len(texts), len(found_in))
    )
    vectors.sort_indices()
    return vectors


def _words_and_pairs(text: str) -> list[str]:
    words = _WORD.findall(text)
    return [*words, *map(" ".join, zip(words, words[1:]))]


def masked_numbers(texts: Sequence[str]) -> list[str]:
    """Texts in lower case with every number as 0: equal where two texts differ in their numbers only."""
    return [_NUMBER.sub("0", text.lower()) for text in texts]


def mostly_numbers(text: str) -> bool:
    """Whether a text is a few words and so many numbers that these are what it asks about."""
    numbers, words = len(_NUMBER.findall(text)), len(re.findall(LETTERS, text))
    return numbers > MOSTLY_NUMBERS * (numbers + words) and words <= FEW_WORDS


def too_alike(groups: np.ndarray) -> bool:
    """Whether most texts are joined, and to so few groups (n,) that nothing can be learned from them."""
    n_groups = len(np.unique(groups))
    return n_groups < FEW_GROUPS and 2 * n_groups <= len(groups)


def connected_groups(left: np.ndarray, right: np.ndarray, n: int) -> np.ndarray:
    """Group, int (n,), of each of `n` nodes, where left[i] and right[i] stand in one group.

    Parameters
    ----------
    left, right : int (m,), the two nodes of each pair, numbered 0..n-1
    n : number of nodes; one that is in no pair is a group by itself
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(left), dtype=bool), (left, right)), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def joined_groups(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The finest grouping, int64 (n,), that keeps together what either of two groupings (ids from 0) does."""
    first_of_b = int(a.max(initial=-1)) + 1  # a row ties its two groups to each other
    groups = connected_groups(a, b + first_of_b, first_of_b + int(b.max(initial=-1)) + 1)
    return in_order_of_appearance(groups[a])


def _all_close_pairs(vectors: csr_matrix, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of rows whose cosine reaches `threshold`, block by block, in quadratic time."""
    transposed = vectors.T.tocsc()
    for start in range(0, vectors.shape[0], 512):
        similarity = (vectors[start : start + 512] @ transposed).tocoo()
        close = similarity.data >= threshold
        yield similarity.row[close] + start, similarity.col[close]


def _likely_close_pairs(
    masked: Sequence[str], vectors: csr_matrix, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same pairs but for a few: MinHash of the texts' words proposes them, their cosine decides.

    A text is its set of words and pairs of neighbouring words. Where two neighbouring hashes of 128 agree, it
    is compared with the first text that had them. On SVAMP and GSM8K this finds 99.4 and 100 % of the pairs
    that stand in one cluster.
    """
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise missing(f"{len(masked):,} questions are too many to compare all pairs", "large") from error
    hashes = MinHash(num_perm=HASHES, seed=1)
    signatures = np.empty((len(masked), HASHES), dtype=np.uint64)
    for i, text in enumerate(masked):
        hashes.clear()
        hashes.update_batch([term.encode() for term in _words_and_pairs(text)] or [b""])
        signatures[i] = hashes.hashvalues
    proposed = np.zeros(0, dtype=np.int64)
    for one, two in zip(signatures.T[::2], signatures.T[1::2]):
        _, earliest, group = np.unique(one << np.uint64(32) | two, return_index=True, return_inverse=True)
        later = np.flatnonzero(earliest[group] != np.arange(len(group)))
        proposed = np.union1d(proposed, later * len(group) + earliest[group[later]])
    first, second = np.divmod(proposed, len(masked))
    close = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), 2**16):
        block = slice(start, start + 2**16)
        cosine = vectors[first[block]].multiply(vectors[second[block]]).sum(1)
        close[block] = np.asarray(cosine).ravel() >= threshold
    return first[close], second[close]


def in_order_of_appearance(keys: Sequence | np.ndarray) -> np.ndarray:
    """Renumber arbitrary keys 0, 1, 2, ... by first appearance, int64 (n,)."""
    seen: dict = {}
    listed = keys.tolist() if isinstance(keys, np.ndarray) else keys
    return np.array([seen.setdefault(key, len(seen)) for key in listed], dtype=np.int64)
