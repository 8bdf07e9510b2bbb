"""A model's weights under another vocabulary: each token's rows follow its text, whatever its number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.text.token_match import TokenMatch

TOKEN_ROWS = ("embedding.weight", "output.weight", "output.bias")
"""the tensors whose rows are tokens"""


def transferred(tensors: Mapping[str, NDArray[Any]], match: TokenMatch) -> dict[str, NDArray[np.float32]]:
    """Return the weights for the new vocabulary of a match.

    A new token starts, as input and as output, from the unknown token, which has stood for it so far: the unknown one's
    probability is shared out equally, so the loss of every token that was known is the very same as before. Where there
    is none, it starts from the mean of the old tokens that spell it, or else of all the known, with an output bias that
    is lower by the logarithm of the number of new tokens: all together are then as likely as one such token.
    """
    if match.is_identity:
        return {name: np.array(tensor, np.float32) for name, tensor in tensors.items()}
    known, found = match.old_of_new >= 0, dict[str, NDArray[np.float32]]()
    for name, tensor in tensors.items():
        if name not in TOKEN_ROWS:
            found[name] = np.array(tensor, np.float32)
            continue
        rows = np.empty((len(known), *tensor.shape[1:]), np.float32)
        rows[known] = tensor[match.old_of_new[known]]
        rows[~known] = _new_rows(tensor, match)
        if name == "output.bias":
            rows[~known] -= np.log(max(1, match.added + (match.unknown is not None)))
            if match.unknown is not None:
                rows[match.unknown[1]] -= np.log(match.added + 1)
        found[name] = rows
    return found


def _new_rows(tensor: NDArray[Any], match: TokenMatch) -> NDArray[Any]:
    """Return what the rows of the added tokens start from, ``(added, …)``."""
    if match.unknown is not None:
        return tensor[[match.unknown[0]] * match.added]
    mean = tensor[match.old_of_new[match.old_of_new >= 0]].mean(axis=0, dtype=np.float64)
    added = np.flatnonzero(match.old_of_new < 0).tolist()
    rows = [tensor[match.parts[t]].mean(axis=0, dtype=np.float64) if t in match.parts else mean for t in added]
    return np.array(rows).reshape(len(added), *tensor.shape[1:])
