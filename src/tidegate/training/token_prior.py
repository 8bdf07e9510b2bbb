"""A model's start on a new text: how often each token stands there, put into the output layer's bias.

    b ← b + ln q − ln p        p: what the model gives each token on average over some windows of the new text
                               q: (1 − K) times the token's share of the text, plus K p

This corrects the classes' prior probabilities (Saerens, Latinne & Decaestecker 2002) and leaves the layers alone. One
pass over a few thousand tokens does what the optimizer, whose steps move a bias by the learning rate at most, takes
hundreds of steps for. K stays for what the new text lacks, so that it becomes rarer by the factor K at most.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tidegate.models.language_model import LanguageModel
from tidegate.training.batches import Cursor, Feed
from tidegate.training.tuned_start import ReplayFeed

KEPT = 0.1
TOKENS = 8192
"""read for p, about"""
ROWS = 1024
"""logits made at once"""


@torch.no_grad()
def fit_output_bias(model: LanguageModel, feed: Feed | ReplayFeed, counts: NDArray[np.float64]) -> None:
    """Change the output layer's bias so that the tokens of the feed's text are predicted as often as they occur.

    counts: ``(V,)``, how often each token stands in the text, in any unit. The same arguments give the same bits.
    """
    windows = min(feed.windows, -(-TOKENS // (feed.lanes * feed.window)))
    given, state = torch.zeros(len(counts), dtype=torch.float64), None
    read, cursor = 0, Cursor(0, 0)
    for _ in range(windows):
        batch = feed.read(cursor)
        features = model.features(batch.inputs, state, batch.fresh)
        for rows in features.x.flatten(0, 1).split(ROWS):
            given += torch.softmax(model.output(rows), dim=-1).sum(dim=0, dtype=torch.float64)
        read, cursor, state = read + batch.inputs.numel(), batch.cursor, features.state
    p = (given / read).clamp_min(torch.finfo(torch.float32).tiny)
    q = (1 - KEPT) * torch.from_numpy(counts / counts.sum()) + KEPT * p
    model.output.bias.add_((q.log() - p.log()).to(model.output.bias))
