"""Near-duplicate questions: the same problem with other numbers or a word changed.

Texts that stand for one problem must stay on one side of every split, and intervals must count them once.
No embedding and no label takes part, so nothing a model learns from can shape its own test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def cluster_texts(texts: Sequence[str], threshold: float = 0.6) -> np.ndarray:
    """Cluster id, int64 (n,), of each text; ids count up in order of first appearance.

    Lower case, every number replaced by 0, word 1-2-grams weighted by TF-IDF with sublinear tf over the
    distinct texts (words of two letters or more, so the masked numbers drop out); a cosine of at least `threshold` joins two texts, and joins are transitive.
    """
    if not len(texts):
        return np.zeros(0, dtype=np.int64)
    distinct, index = np.unique(np.array(texts, dtype=object), return_inverse=True)
    masked = [_NUMBER.sub("0", text.lower()) for text in distinct]
    try:
        vectors: csr_matrix = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(masked)
    except ValueError:  # no word in any text: nothing but exact duplicates can be joined
        vectors = csr_matrix((len(distinct), 1))
    transposed = vectors.T.tocsc()
    rows, columns = [], []
    for start in range(0, len(distinct), 512):
        similarity = (vectors[start : start + 512] @ transposed).tocoo()
        close = similarity.data >= threshold
        rows.append(similarity.row[close] + start)
        columns.append(similarity.col[close])
    pairs = (np.concatenate(rows), np.concatenate(columns))
    graph = coo_matrix((np.ones(len(pairs[0]), dtype=np.int8), pairs), shape=(len(distinct),) * 2)
    _, component = connected_components(graph, directed=False)
    return in_order_of_appearance(component[index])


def in_order_of_appearance(keys: Sequence | np.ndarray) -> np.ndarray:
    """Renumber arbitrary keys 0, 1, 2, ... by first appearance, int64 (n,)."""
    seen: dict = {}
    return np.array(
        [seen.setdefault(key, len(seen)) for key in np.asarray(keys, dtype=object).tolist()], dtype=np.int64
    )
