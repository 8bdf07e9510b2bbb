"""The running encoder: texts one after another in lanes, each as if it were read by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.small_models import FORMS as ALL_FORMS
from tests.runtime.small_models import random_tensors
from tidegate.runtime import encoder as module
from tidegate.runtime import stack
from tidegate.runtime.encoder import Encoder, shared_out, text_ids
from tidegate.text.tokenizer import train
from tidegate.text.word_features import SentenceEncoder, WordVocabulary

FORMS = [form for form in ALL_FORMS if form.tied and form.embedding_size]
VOCABULARY = 11
STACKS = {"native": stack.stack, "numpy": stack.NumpyStack}


def narrow(config, kernels):
    """Three lanes, seven steps at a time: within few texts lanes end, begin anew and go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "stack", STACKS[kernels])
        # weights so small that the plain recurrence contracts: rounding does not grow over the steps
        return Encoder(config, {name: w / 2 for name, w in random_tensors(config, VOCABULARY).items()})


def texts_of(lengths):
    rng = np.random.default_rng(sum(lengths))
    return [rng.integers(0, VOCABULARY, n).astype(np.uint32) for n in lengths]


@pytest.mark.parametrize("kernels", STACKS)
@pytest.mark.parametrize("config", FORMS, ids=str)
@settings(deadline=None, max_examples=8)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_each_text_is_read_as_if_alone(config, kernels, lengths):
    ids = texts_of(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", 3)
        patch.setattr(module, "CHUNK", 7)
        encoder = narrow(config, kernels)
        outputs, pooled = encoder.outputs(ids), encoder.pooled(ids)
    alone = narrow(config, "numpy")
    for i, one in enumerate(ids):
        (x,) = alone.outputs([one])
        np.testing.assert_allclose(outputs[i], x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(pooled[i], [x[-1], x.max(axis=0), x.mean(axis=0)], rtol=1e-4, atol=1e-5)


def test_a_state_that_is_not_fresh_is_told():
    """Without the fresh state between texts the outputs differ: the test above would see it."""
    config = FORMS[0]
    encoder = narrow(config, "native")
    first, second = texts_of([4, 9])
    after = encoder.outputs([np.concatenate([first, second])])[0][len(first) :]
    assert abs(after - encoder.outputs([second])[0]).max() > 1e-3


def test_no_texts_at_all():
    assert narrow(FORMS[0], "native").pooled([]).shape == (0, 3, FORMS[0].hidden_size)


@given(lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=60), lanes=st.integers(1, 9))
def test_lanes_are_about_as_long(lengths, lanes):
    found = shared_out(lengths, lanes)
    assert sorted(i for lane in found for i in lane) == list(range(len(lengths)))
    assert all(found)
    longest = max(sum(lengths[i] for i in lane) for lane in found)
    least = max(max(lengths), sum(lengths) / lanes)
    assert longest <= max(least, sum(lengths) / len(found) + max(lengths))


@pytest.mark.parametrize("kind", ["words", "whitespace"])
def test_a_first_word_is_the_one_that_the_vocabulary_has_after_a_space(kind):
    """Of a text to classify and of a sentence to tag, in training as in use."""
    tokenizer = train(kind, [" Alice saw the Cat"])
    wanted = [tokenizer.document_id, *tokenizer.encode(" Alice saw").tolist()]
    assert text_ids(tokenizer, "Alice saw").tolist() == wanted
    sentence = SentenceEncoder(tokenizer, WordVocabulary((), ())).encode(["Alice", "saw"])
    assert (sentence.ids.tolist(), sentence.ends.tolist()) == (wanted, [1, 2])
