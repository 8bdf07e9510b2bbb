"""The classifier: an encoder, what its vectors are over the text, and one linear layer.

    p = (x_T, max_t x_t, mean_t x_t)        concat pooling (Howard & Ruder 2018, arXiv 1801.06146, section 3.3)
    logits = W dropout(p) + b

Of a second encoder, which reads from the other end, the same vectors stand after those of the first. Howard & Ruder
average the answers of two classifiers instead; one head over both learns what each is good for.

The same computation as `tidegate.runtime.classifier`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tidegate.config import ModelConfig
from tidegate.models.encoder import Encoder, State
from tidegate.nn.dropout import DropoutMasks, mix

CHUNK = 128
"""steps that are read at a time; a text that has ended is not read on with"""
_SECOND = 7
"""sets the masks of a second encoder apart"""


class Classifier(Encoder):
    """Labels a text.

    The parameters' names and shapes are those of `tidegate.folder.label_folder.classifier_shapes`.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, labels: int, both: bool = False) -> None:
        """Draw start values, as `Encoder.draw_embedding` has them; the head is zero, so that all labels are equal.

        both: with a second encoder of the same shape, that reads the texts from the other end.
        """
        super().__init__(config, vocabulary_size)
        self.second = Encoder(config, vocabulary_size) if both else None
        self.head = nn.Linear((6 if both else 3) * config.hidden_size, labels)
        for encoder in (self, self.second):
            if encoder is not None:
                encoder.draw_embedding()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, inputs: Tensor, lengths: Tensor, masks: DropoutMasks | None = None, longest: int | None = None
    ) -> Tensor:
        """Compute the logits ``(B, K)`` of texts.

        inputs: ``(T, B)`` int64; lengths: ``(B,)`` int64, 1 … T, how many of them are each text's; masks: dropout while
        training, None for none; longest: steps that the gradient reaches from the shortest's end at least, None: all.
        """
        return self.logits(self.pooled(inputs, lengths, masks, longest), masks)

    def logits(self, pooled: Tensor, masks: DropoutMasks | None = None) -> Tensor:
        """Compute the logits ``(B, K)`` from what pooling gives, ``(B, 3 H)``, of two encoders ``(B, 6 H)``."""
        if masks is not None:
            pooled = masks.units(pooled.unsqueeze(0), masks.shares.output, self.config.layers + 2).squeeze(0)
        found: Tensor = self.head(pooled)
        return found

    def pooled(
        self, inputs: Tensor, lengths: Tensor, masks: DropoutMasks | None = None, longest: int | None = None
    ) -> Tensor:
        """Compute the last vector of each text, the largest and the mean of each unit, ``(B, 3 H)``; then those of the
        second encoder, if there is one.

        The text is read in chunks of which the state is carried on; before the last `longest` steps nothing is kept for
        the gradient, so that a text of any length can be learnt from.
        """
        found = pooled_by(self, inputs, lengths, masks, longest)
        if self.second is None:
            return found
        if masks is not None:  # its units are others
            masks = DropoutMasks(masks.shares, mix(masks.seed, _SECOND), masks.step)
        return torch.cat([found, pooled_by(self.second, turned(inputs, lengths), lengths, masks, longest)], dim=-1)


def turned(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Return ``(T, B)`` with each text read from its other end, but for its first token, the document's."""
    place = torch.arange(len(inputs)).unsqueeze(1)
    other = torch.where((place > 0) & (place < lengths), lengths - place, place)
    return inputs.gather(0, other)


def pooled_by(
    encoder: Encoder, inputs: Tensor, lengths: Tensor, masks: DropoutMasks | None, longest: int | None
) -> Tensor:
    """Compute the vectors ``(B, 3 H)`` of `Classifier.pooled` with one encoder."""
    T = int(lengths.max())
    # by the shortest: every text's end is learnt from
    learnt_from = 0 if longest is None else max(0, int(lengths.min()) - longest)
    state: State | None = None
    B, H = inputs.shape[1], encoder.config.hidden_size
    last, total = (encoder.embedding.weight.new_zeros(B, H) for _ in range(2))
    largest = torch.full_like(last, -torch.inf)
    reading, begin = torch.arange(B), 0
    while begin < T:
        end = min(begin + CHUNK, T) if begin >= learnt_from else min(begin + CHUNK, learnt_from)
        goes_on = lengths[reading] > begin
        if not goes_on.all():
            reading = reading[goes_on]
            assert state is not None
            state = tuple(type(layer)(*(part[goes_on] for part in layer)) for layer in state)
        here = (lengths[reading] - begin).clamp(max=end - begin)
        end = begin + int(here.max())
        with torch.set_grad_enabled(torch.is_grad_enabled() and begin >= learnt_from):
            of_these = None if masks is None else masks.of_lanes(reading, B)
            features = encoder.encode(inputs[begin:end, reading], state, None, of_these, here)
            state, x = features.state, features.x
            within = (torch.arange(end - begin).unsqueeze(1) < here).unsqueeze(-1)
            last = last.index_copy(0, reading, x[here - 1, torch.arange(len(here))])
            highest = torch.maximum(largest[reading], x.masked_fill(~within, -torch.inf).amax(0))
            largest = largest.index_copy(0, reading, highest)
            total = total.index_add(0, reading, (x * within).sum(0))
        begin = end
    return torch.cat([last, largest, total / lengths.unsqueeze(-1)], dim=-1)


def label_loss(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Compute the mean loss of a text in nats.

    logits: ``(B, K)``; targets: ``(B,)`` int64, the label of each text, or ``(B, K)`` float32, 1 for each of its
    labels: then the K losses of a text are summed. class_weights: ``(K,)``, the factor on each label's texts; the mean
    is divided by their sum.
    """
    if targets.dim() == 1:
        return F.cross_entropy(logits, targets, class_weights)
    losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=class_weights, reduction="none")
    return losses.sum(-1).mean()
