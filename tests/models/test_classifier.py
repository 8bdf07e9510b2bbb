"""The classifier: pooling in chunks and with padding, its gradient, its loss, and its twin without PyTorch."""

from __future__ import annotations

import copy
import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.runtime.small_models import tokenizer_of
from tidegate.config import ModelConfig
from tidegate.folder.label_folder import ClassifierFolder, classifier_shapes
from tidegate.models import classifier as module
from tidegate.models.classifier import Classifier, label_loss
from tidegate.nn.dropout import DropoutMasks, Shares
from tidegate.runtime import classifier as runtime
from tidegate.runtime import encoder, stack
from tidegate.text.ngrams import BUCKETS, NgramScores
from tidegate.theory.layout import GATES
from tidegate.training.label_report import probabilities_of

FORMS = [
    ModelConfig(cell=cell, block=block, tied=tied, embedding_size=E, hidden_size=7, layers=2)
    for cell, block, (tied, E) in itertools.product(GATES, ("residual", "plain"), ((False, None), (True, 5)))
]
TEXTS = ["But soft", "春眠不覺曉，處處聞啼鳥。" * 5, "i", "It is the east!\nROMEO" * 3]


def random_classifier(config, labels=3, vocabulary=20, seed=0, both=False):
    model = Classifier(config, vocabulary, labels, both)
    rng = np.random.default_rng(seed)
    shapes = classifier_shapes(config, vocabulary, labels, both)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == shapes
    model.load_tensors({name: rng.normal(size=s).astype(np.float32) * np.float32(0.5) for name, s in shapes.items()})
    return model


def padded(lengths, vocabulary=20, seed=1):
    rng = np.random.default_rng(seed)
    inputs = torch.from_numpy(rng.integers(0, vocabulary, (max(lengths), len(lengths))))
    return inputs, torch.tensor(lengths)


@pytest.mark.parametrize("config", FORMS, ids=str)
def test_chunks_padding_and_neighbours_change_nothing(config, monkeypatch):
    model = random_classifier(config)
    inputs, lengths = padded([13, 1, 5, 8])
    whole = model(inputs, lengths)
    for b, n in enumerate(lengths.tolist()):
        x = model.encode(inputs[:n, b : b + 1]).x[:, 0]
        pooled = torch.cat([x[-1], x.amax(0), x.mean(0)])
        torch.testing.assert_close(whole[b], model.head(pooled), rtol=1e-5, atol=1e-5)
    changed = inputs.clone()
    changed[torch.arange(13).unsqueeze(1) >= lengths] = 3
    assert torch.equal(model(changed, lengths), whole)
    for chunk in (1, 4, 5):
        monkeypatch.setattr(module, "CHUNK", chunk)
        torch.testing.assert_close(model(inputs, lengths), whole, rtol=1e-5, atol=1e-5)


def test_the_gradient_reaches_so_far_back_and_the_text_is_read_whole():
    model = random_classifier(FORMS[0])
    inputs, lengths = padded([12, 12])
    whole = model(inputs, lengths)
    assert torch.allclose(model(inputs, lengths, longest=4), whole, atol=1e-5)

    def reached(longest):
        vectors = model.embedding(inputs).detach().requires_grad_()
        handle = model.embedding.register_forward_hook(lambda *_: next(parts))
        parts = iter([vectors[:8], vectors[8:]] if longest == 4 else [vectors])
        model(inputs, lengths, longest=longest).sum().backward()
        handle.remove()
        return vectors.grad.abs().sum((1, 2)) > 0

    assert reached(None).all()
    assert reached(4).tolist() == [False] * 8 + [True] * 4


def test_gradients_agree_with_finite_differences():
    model = random_classifier(ModelConfig(hidden_size=5, layers=1), vocabulary=6).double()
    inputs, lengths = padded([6, 3], vocabulary=6)
    names = ["embedding.weight", "blocks.0.cell.weight_hh_l0", "head.weight", "final_norm.weight"]
    weights = [dict(model.named_parameters())[name] for name in names]
    targets = torch.tensor([2, 0])
    loss = lambda: label_loss(model(inputs, lengths), targets, torch.tensor([0.5, 1.0, 2.0]).double())  # noqa: E731
    gradients = torch.autograd.grad(loss(), weights)
    rng = np.random.default_rng(3)
    for weight, gradient in zip(weights, gradients, strict=True):
        direction = torch.from_numpy(rng.normal(size=tuple(weight.shape)))
        with torch.no_grad():
            steps = []
            for sign in (1, -1):
                weight += sign * 1e-6 * direction
                steps.append(loss().item())
                weight -= sign * 1e-6 * direction
        assert (steps[0] - steps[1]) / 2e-6 == pytest.approx((gradient * direction).sum().item(), rel=1e-5, abs=1e-8)


def test_losses():
    logits = torch.randn(4, 3, dtype=torch.double)
    targets, weights = torch.tensor([0, 2, 2, 1]), torch.tensor([1.0, 2.0, 0.5], dtype=torch.double)
    nats = -torch.log_softmax(logits, 1)[torch.arange(4), targets]
    assert label_loss(logits, targets).item() == pytest.approx(nats.mean().item())
    expected = (nats * weights[targets]).sum() / weights[targets].sum()
    assert label_loss(logits, targets, weights).item() == pytest.approx(expected.item())
    several = torch.tensor([[1.0, 0, 1]] * 4, dtype=torch.double)
    p = torch.sigmoid(logits)
    expected = -(several * p.log() + (1 - several) * (1 - p).log()).sum(1).mean()
    assert label_loss(logits, several).item() == pytest.approx(expected.item())
    expected = -(weights * several * p.log() + (1 - several) * (1 - p).log()).sum(1).mean()
    assert label_loss(logits, several, weights).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("numpy_stack", [False, True])
@pytest.mark.parametrize("config", FORMS, ids=str)
def test_the_running_half_gives_the_same(config, numpy_stack, monkeypatch):
    if numpy_stack:
        monkeypatch.setattr(encoder, "stack", stack.NumpyStack)
    tokenizer = tokenizer_of("characters")
    model = random_classifier(config, vocabulary=tokenizer.vocabulary_size)
    folder = ClassifierFolder(config, tokenizer, ("x", "y", "z"), False, 2.0, False, model.tensors())
    running = runtime.Classifier(folder)
    monkeypatch.setattr(encoder, "CHUNK", 7)
    monkeypatch.setattr(encoder, "BATCH", 3)
    found = running.logits(TEXTS)
    for row, text in zip(found, TEXTS, strict=True):
        ids = encoder.text_ids(tokenizer, text).astype(np.int64)
        with torch.no_grad():
            expected = model(torch.from_numpy(ids)[:, None], torch.tensor([len(ids)]))[0].numpy()
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=2e-5)
    p = torch.softmax(torch.from_numpy(found) / 2, dim=1).numpy()
    np.testing.assert_allclose(running.probabilities(TEXTS), p, rtol=1e-5)
    several = runtime.Classifier(
        ClassifierFolder(config, tokenizer, ("x", "y", "z"), True, 2.0, False, model.tensors())
    )
    np.testing.assert_allclose(several.probabilities(TEXTS), 1 / (1 + np.exp(-found / 2)), rtol=1e-5)
    assert np.array_equal(running.probabilities(TEXTS[1]), running.probabilities([TEXTS[1]]))
    assert len(running.label(TEXTS[1])) == len(list(running.stream(TEXTS[1]))) == 1
    for other in (copy.deepcopy(running), pickle.loads(pickle.dumps(running))):
        assert np.array_equal(other.probabilities(TEXTS), running.probabilities(TEXTS))
    one = several.label(TEXTS)[1]
    assert one.labels == tuple(name for name, p in zip("xyz", one.probabilities, strict=True) if p > 0.5)


@pytest.mark.parametrize("several", [False, True])
def test_what_ngrams_say_is_added_after_the_temperature(several):
    config, tokenizer = FORMS[0], tokenizer_of("characters")
    tensors = random_classifier(config, vocabulary=tokenizer.vocabulary_size).tensors()
    rng = np.random.default_rng(0)
    scores = NgramScores(
        "characters",
        rng.uniform(0, 2, BUCKETS).astype(np.float32),
        rng.normal(size=(3, BUCKETS)).astype(np.float32),
        np.float32([1, 0, -1]),
    )
    folder = ClassifierFolder(
        config, tokenizer, ("x", "y", "z"), several, 2.0, False, tensors | scores.tensors(), "characters"
    )
    running = runtime.Classifier(folder)
    z = running.logits(TEXTS) / 2 + scores.of(TEXTS)
    np.testing.assert_allclose(running.probabilities(TEXTS), probabilities_of(z, several), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_second_encoder_reads_from_the_other_end(direction):
    config = replace(FORMS[0], direction=direction)
    tokenizer = tokenizer_of("characters")
    model = random_classifier(config, vocabulary=tokenizer.vocabulary_size, both=True)
    running = runtime.Classifier(
        ClassifierFolder(config, tokenizer, ("x", "y", "z"), False, 1.0, True, model.tensors())
    )
    found = running.logits(TEXTS)
    ids = [encoder.text_ids(tokenizer, text).astype(np.int64) for text in TEXTS]
    inputs = torch.zeros(max(map(len, ids)), len(ids), dtype=torch.long)
    for lane, one in enumerate(ids):
        inputs[: len(one), lane] = torch.from_numpy(one if direction == "forward" else encoder.turned(one))
    lengths = torch.tensor([len(one) for one in ids])
    with torch.no_grad():
        np.testing.assert_allclose(found, model(inputs, lengths).numpy(), rtol=1e-4, atol=2e-5)
        for lane, one in enumerate(ids):  # from the theory of it: each text by itself, from either end
            parts = []
            for of, order in zip((model, model.second), (one, encoder.turned(one)), strict=True):
                order = order if direction == "forward" else encoder.turned(order)
                x = of.encode(torch.from_numpy(order)[:, None]).x[:, 0]
                parts += [x[-1], x.amax(0), x.mean(0)]
            expected = model.head(torch.cat(parts)).numpy()
            np.testing.assert_allclose(found[lane], expected, rtol=1e-4, atol=2e-5)


def test_masks_of_a_second_encoder_are_its_own():
    config = ModelConfig(hidden_size=64, layers=1)
    model = random_classifier(config, both=True)
    model.second.load_tensors(dict(model.tensors()))
    same_from_both_ends = torch.full((5, 2), 3), torch.tensor([5, 4])
    without = model.pooled(*same_from_both_ends)
    torch.testing.assert_close(without[:, : 3 * 64], without[:, 3 * 64 :])
    masked = model.pooled(*same_from_both_ends, DropoutMasks(Shares(hidden=0.5, input=0.5), 0, 0))
    assert not torch.allclose(masked[:, : 3 * 64], masked[:, 3 * 64 :])


def test_a_lane_keeps_its_mask_when_others_have_ended(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    model = random_classifier(ModelConfig(hidden_size=16, layers=2))
    inputs, lengths = padded([11, 2, 5, 8])
    masks = DropoutMasks(Shares(hidden=0.5, input=0.3, embedding=0.2), 0, 0)
    found = model.pooled(inputs, lengths, masks)
    monkeypatch.setattr(module, "CHUNK", 11)  # in one piece, no lane ends before the others
    torch.testing.assert_close(found, model.pooled(inputs, lengths, masks), rtol=1e-5, atol=1e-5)
