"""NumPy files of others, read without trust: plain finite numbers of the expected shape, never objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prompt_oirl.io.files import InputError, require


def load_array(
    path: Path, *, hint: str, ndim: int, dtype: str = "fiub", labels: bool = False, mapped: bool = False
) -> np.ndarray:
    """Read a .npy file of plain finite numbers; objects are never unpickled.

    Parameters
    ----------
    hint : what the user can do, the end of every complaint
    dtype : NumPy kinds that are accepted, default numbers and bool
    labels : values must lie in 0..1, and NaN stands for "never asked"
    mapped : the array stays in its file until it is used
    """
    array = _load_plain(path, hint, mapped)
    if array.ndim != ndim or array.dtype.kind not in dtype:
        raise InputError(
            f"{path}: {array.dtype} of shape {array.shape}, expected {ndim} dimension(s) of kind {dtype}; "
            f"{hint}"
        )
    if array.dtype.kind == "f":
        for start in range(0, len(array), 2**16):  # in blocks: a mapped array may be larger than memory
            block = array[start : start + 2**16]
            bad = ~np.isfinite(block) & ~(np.isnan(block) & labels)
            if bad.any():
                row = start + int(np.argwhere(bad)[0][0])
                raise InputError(f"{path}: row {row} holds NaN or infinity; {hint}")
            if labels and ((block < 0) | (block > 1)).any():
                raise InputError(f"{path}: labels outside 0..1; {hint}")
    return array


def _load_plain(path: Path, hint: str, mapped: bool) -> np.ndarray:
    require(path, hint)
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except ValueError as error:
        reason = "holds Python objects" if "allow_pickle" in str(error) else "is not a whole .npy file"
        raise InputError(f"{path}: {reason} and is not loaded; {hint}") from error
    except Exception as error:  # NumPy parses the header as Python's text: any kind of error may come
        raise InputError(f"{path}: cannot be read ({error or type(error).__name__}); {hint}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: holds {getattr(array, 'dtype', type(array).__name__)}, expected numbers; {hint}"
        )
    return array
