"""The language model: encoder and output layer; the same computation as `tidegate.runtime.model`."""

from __future__ import annotations

from torch import Tensor, nn

from tidegate.config import ModelConfig
from tidegate.models.encoder import Encoder, Features, State
from tidegate.nn.dropout import DropoutMasks
from tidegate.nn.loss import linear_cross_entropy
from tidegate.nn.output_sample import OutputSample


class LanguageModel(Encoder):
    """Predicts each next token from all tokens before it.

    The parameters' names and shapes are those of the model folder (`tidegate.folder.tensors.expected_shapes`).
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        """Draw start values, as `Encoder.draw_embedding` has them; a tied output layer is the embedding."""
        super().__init__(config, vocabulary_size)
        E, H = config.E, config.hidden_size
        self.output_projection = nn.Linear(H, E, bias=False) if config.tied and E != H else None
        self.output = nn.Linear(E if config.tied else H, vocabulary_size)
        self.draw_embedding()
        nn.init.zeros_(self.output.bias)
        if config.tied:
            self.output.weight = self.embedding.weight

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        fresh: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> tuple[Tensor, State]:
        """Compute the logits of each next token.

        inputs: ``(T, B)`` int64; state: one a layer, None means zeros; fresh: ``(T, B)`` bool, see `run_cell`;
        masks: dropout while training, None for none. Returns logits ``(T, B, V)`` and the state after the last step.
        """
        features = self.features(inputs, state, fresh, masks)
        return self.output(features.x), features.state

    def loss(
        self,
        inputs: Tensor,
        targets: Tensor,
        weight: Tensor | None = None,
        state: State | None = None,
        fresh: Tensor | None = None,
        masks: DropoutMasks | None = None,
        sample: OutputSample | None = None,
    ) -> tuple[Tensor, Features]:
        """Compute the summed loss of each next token, without holding all logits where the native core computes.

        targets: ``(T, B)`` int64; weight: ``(T, B)``, the factor on each token's loss, None means ones; sample: drawn
        for these targets, the part of the vocabulary among which the loss is computed, None means all; the others as
        in `forward`. Returns a scalar, in nats, and the features, with the state after the last step.
        """
        features = self.features(inputs, state, fresh, masks)
        vectors: Tensor = self.output.weight
        bias: Tensor = self.output.bias
        if sample is not None:
            vectors = vectors.index_select(0, sample.tokens)
            bias = bias.index_select(0, sample.tokens) + sample.correction
            targets = sample.targets
        return linear_cross_entropy(features.x, vectors, bias, targets, weight), features

    def features(
        self,
        inputs: Tensor,
        state: State | None = None,
        fresh: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> Features:
        """Compute what the output layer reads, and the state; the arguments are those of `forward`."""
        found = self.encode(inputs, state, fresh, masks)
        return found if self.output_projection is None else found._replace(x=self.output_projection(found.x))
