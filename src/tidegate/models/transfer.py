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

    A new token starts, as input and as output, from the mean of the old tokens that spell it, or where none do, of all
    the known. Its output bias is lower than their mean by the logarithm of the number of new tokens: all together are
    then as likely as one average token, so that what the model knew of the others hardly changes.
    """
    if match.is_identity:
        return {name: np.array(tensor, np.float32) for name, tensor in tensors.items()}
    known, found = match.old_of_new >= 0, dict[str, NDArray[np.float32]]()
    kept = match.old_of_new[known]
    for name, tensor in tensors.items():
        if name not in TOKEN_ROWS:
            found[name] = np.array(tensor, np.float32)
            continue
        rows = np.empty((len(known), *tensor.shape[1:]), np.float32)
        rows[known] = tensor[kept]
        mean = tensor[kept].mean(axis=0, dtype=np.float64)
        for token in np.flatnonzero(~known):
            spelled = match.parts.get(int(token))
            rows[token] = mean if spelled is None else tensor[spelled].mean(axis=0, dtype=np.float64)
        if name == "output.bias":
            rows[~known] -= np.log(max(1, match.added))
        found[name] = rows
    return found
