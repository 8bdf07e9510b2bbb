"""A language model that runs: a model folder's weights in float32, on the native core, or in NumPy where that is not.

    v = embedding[id], through embedding_projection where E ≠ H
    x = x + cell(rms_norm(x)) for each block, then the final rms_norm       (residual)
    x = cell(x) for each block                                              (plain)
    logits = W x + output.bias, where W is output.weight, or, tied,
        embedding.weight, before which output_projection stands where E ≠ H

The same computation as `tidegate.models.language_model`. A state is an argument and a result, kept nowhere, so one
model serves any number of texts and threads at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, Unpack, final

import numpy as np
from numpy.typing import NDArray

from tidegate.arguments import one_or_more
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.adapter import merged, read_adapter
from tidegate.folder.chat_file import Chat, first_chat
from tidegate.folder.model_folder import ModelFolder
from tidegate.folder.tensors import Tensors, check_tensors
from tidegate.runtime.linear import Linear, optional_linear
from tidegate.runtime.sampling import Sampling, SamplingSettings, with_settings
from tidegate.runtime.session import MAX_TOKENS, Session
from tidegate.runtime.stack import Array, State, layer_weights, stack
from tidegate.runtime.stream import stream
from tidegate.text.conversations.checked import asked
from tidegate.text.tokenizer import Tokenizer
from tidegate.text.tokenizers.base import canonical_digest
from tidegate.theory.cells import zero_state
from tidegate.theory.normalization import rms_norm

ENOUGH_DOCUMENTS = 100
"""A model that saw fewer beginnings of documents has not learnt what their token means."""

Messages: TypeAlias = "str | Sequence[Mapping[str, Any]]"
"""one question, or a conversation that ends with one: objects with a role (system, user, assistant) and a content"""
READ_AT_ONCE = 512
"""Tokens of a prompt whose vectors are held at a time."""


def load(path: str | Path, adapters: str | Path | Sequence[str | Path] = ()) -> Model:
    """Load a model folder, or a base model by its name, with the changes of adapters, if any."""
    return Model.load(path, adapters)


@final
class Model:
    """A model and its tokenizer, ready to step.

    >>> model = tidegate.load("runs/shakespeare")           # doctest: +SKIP
    >>> print(model.generate("ROMEO:", max_tokens=200))     # doctest: +SKIP
    >>> print(tidegate.load("runs/talks").chat("Hello"))    # doctest: +SKIP
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        tensors: Tensors,
        documents: int | None = None,
        unknown: int | None = None,
    ) -> None:
        """Take the weights by the model folder's names and shapes; they are used where they lie, not copied.

        documents, unknown: how many documents, and how many unknown tokens, the model was trained on, None if that is
        not known.
        """
        if config.direction == "backward":
            raise TidegateError(
                "The model reads texts from their ends, for a classifier that has one of each direction, and cannot "
                "write: give one that reads forward."
            )
        check_tensors(tensors, config, tokenizer.vocabulary_size, "The model")
        self.config = config
        self.tokenizer = tokenizer
        self.knows_documents = documents is None or documents >= ENOUGH_DOCUMENTS
        self.knows_unknown = bool(unknown)
        """whether the training text had unknown tokens, so that a prompt may have some"""
        self._embedding = tensors["embedding.weight"]
        self._embedding_projection = optional_linear(tensors, "embedding_projection.weight")
        self._stack = stack(config.cell, [layer_weights(tensors, i) for i in range(config.layers)])
        self._final_norm = tensors.get("final_norm.weight")
        self._output_projection = optional_linear(tensors, "output_projection.weight")
        output = self._embedding if config.tied else tensors["output.weight"]
        self._output = Linear(output, tensors["output.bias"])
        self._tensors, self._counts, self._digest = tensors, (documents, unknown), ""
        self.digest = ""
        """tells this model's weights from all others, adapters included; empty for weights that came from no folder"""
        self._folders: tuple[Path, ...] = ()

    @classmethod
    def load(cls, path: str | Path, adapters: str | Path | Sequence[str | Path] = ()) -> Model:
        """Read a model folder; a TidegateError says what is wrong with one, or with an adapter to it."""
        folder = ModelFolder.read(path)
        model = cls(folder.model, folder.tokenizer, folder.tensors, folder.documents, folder.unknown)
        model._digest = model.digest = folder.metadata["weights_digest"]
        model._folders = (folder.path,)
        adapters = list(one_or_more(adapters))
        return model.adapted(adapters) if adapters else model

    def adapted(self, adapters: str | Path | Sequence[str | Path]) -> Model:
        """Return the model of this folder with the changes of adapters, which add up; this one stays as it is, so that
        adapters can be swapped from text to text. What they do not change is shared.

        Raises TidegateError where an adapter belongs to another model.
        """
        V, paths = self.tokenizer.vocabulary_size, [Path(path) for path in one_or_more(adapters)]
        read = [read_adapter(path, self.config, V, self._digest) for path in paths]
        changed = Model(self.config, self.tokenizer, merged(self._tensors, read), *self._counts)
        # of what they are based on, so that adapters to the same model still fit
        changed._tensors, changed._digest = self._tensors, self._digest
        changed.digest = canonical_digest([self._digest, *(adapter.digest for adapter in read)])
        changed._folders = (*paths, *self._folders[-1:])
        return changed

    def initial_state(self) -> State:
        """Return the state in which every document starts: zeros."""
        c = self.config
        return tuple(zero_state(c.cell, 1, c.hidden_size, np.float32) for _ in range(c.layers))

    def step(self, token_id: int, state: State) -> tuple[Array, State]:
        """Read one token: return the logits ``(V,)`` float32 of the next one, and the state after it."""
        return self.read((token_id,), state)

    def read(self, ids: Sequence[int] | NDArray[np.integer], state: State) -> tuple[Array, State]:
        """Read tokens one after another: return the logits ``(V,)`` after the last one, and the state after it.

        Of a text of any length only the state is kept. Raises TidegateError where there is no token to read, or an id
        outside 0 … V - 1.
        """
        if len(ids) == 0:
            raise TidegateError(
                "No token was given to read, but logits need one: begin with the tokenizer's document_id."
            )
        ids = np.asarray(ids)
        if ids.min() < 0 or ids.max() >= len(self._embedding):
            wrong = next(token_id for token_id in ids.tolist() if not 0 <= token_id < len(self._embedding))
            raise TidegateError(
                f"The token id is {wrong}, but this model has ids from 0 to {len(self._embedding) - 1}."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # logits that are not finite are refused where one is drawn
            for start in range(0, len(ids), READ_AT_ONCE):
                vectors = self._embedding[ids[start : start + READ_AT_ONCE]]
                if self._embedding_projection is not None:
                    vectors = self._embedding_projection(vectors)
                x, state = self._stack.read(vectors, state)
            return self._logits(x), state

    def _logits(self, x: Array) -> Array:
        if self._final_norm is not None:
            x = rms_norm(x, self._final_norm)
        if self._output_projection is not None:
            x = self._output_projection(x)
        return self._output(x)[0]

    def stream(
        self,
        prompt: str | Iterable[str] = "",
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = 500,
        stop: str | Sequence[str] = (),
        sample: int = 0,
        end_at_document: bool = True,
        **settings: Unpack[SamplingSettings],
    ) -> Iterator[str]:
        """Go on from a prompt; yields text piece by piece. See `tidegate.runtime.stream.stream`.

        settings: fields of `Sampling`, such as ``temperature=0.7``, in place of those of `sampling`.
        """
        return stream(
            self,
            prompt,
            sampling=with_settings(sampling, settings),
            max_tokens=max_tokens,
            stop=stop,
            sample=sample,
            end_at_document=end_at_document,
        )

    def generate(
        self,
        prompt: str | Iterable[str] = "",
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = 500,
        stop: str | Sequence[str] = (),
        sample: int = 0,
        end_at_document: bool = True,
        **settings: Unpack[SamplingSettings],
    ) -> str:
        """Return the pieces of `stream`, joined: the text that follows the prompt, without the prompt."""
        pieces = self.stream(
            prompt, sampling=sampling, max_tokens=max_tokens, stop=stop, sample=sample, end_at_document=end_at_document,
            **settings,
        )  # fmt: skip
        return "".join(pieces)

    def chat(
        self,
        messages: Messages,
        *,
        system: str | None = None,
        sampling: Sampling | None = None,
        max_tokens: int = MAX_TOKENS,
        **settings: Unpack[SamplingSettings],
    ) -> str:
        """Return the pieces of `stream_chat`, joined: the answer of a model that learned to answer."""
        pieces = self.stream_chat(messages, system=system, sampling=sampling, max_tokens=max_tokens, **settings)
        return "".join(pieces)

    def stream_chat(
        self,
        messages: Messages,
        *,
        system: str | None = None,
        sampling: Sampling | None = None,
        max_tokens: int = MAX_TOKENS,
        **settings: Unpack[SamplingSettings],
    ) -> Iterator[str]:
        """Answer a question, or the last one of a conversation; yields the answer piece by piece.

        messages: a string, or messages such as ``{"role": "user", "content": "Hi"}``, the last one the user's; system:
        what the conversation begins with; settings: fields of `Sampling`, such as ``temperature=0.7``. Nothing is
        remembered: for that see `conversation`. TidegateError for a model that was not trained to answer.
        """
        turns = asked([{"role": "user", "content": messages}] if isinstance(messages, str) else messages)
        talk = self.conversation(system)
        if system is not None and turns[0].role == "system":
            raise TidegateError("The system's text is given twice, as system and as a message: omit one of them.")
        talk.read(turns[:-1])
        return talk.ask(turns[-1].content, with_settings(sampling, settings), max_tokens)

    def conversation(self, system: str | None = None) -> Session:
        """Begin a conversation, which remembers: ``talk.chat(question)`` returns an answer, ``talk.ask(question)``
        yields its pieces. TidegateError for a model that was not trained to answer."""
        chat = self.read_chat()
        if chat is None:
            raise TidegateError(
                "The model was not trained to answer (it has no chat_template.jinja): fine-tune it on "
                "conversations, tidegate finetune MODEL dialogues.jsonl --task chat, or use generate."
            )
        return Session(self, chat.template, system, chat.single_turn)

    def read_chat(self) -> Chat | None:
        """Return how to talk with the model, as the first of its adapters' folders and its own says; None where none
        does."""
        return first_chat(self._folders)
