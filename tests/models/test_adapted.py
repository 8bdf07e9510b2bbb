"""Low-rank changes: the model that has them merged computes the same, and its gradients are those of the changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.runtime.small_models import random_tensors
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.adapter import Adapter, adapted_names, merged
from tidegate.models.adapted import AdaptedModel
from tidegate.models.language_model import LanguageModel
from tidegate.tuning import LORA_PARTS

V = 11
FORMS = [
    ModelConfig("lstm", 2, 8),
    ModelConfig("gru", 1, 8, 6, tied=True),
    ModelConfig("gru_reset_before", 1, 8),
    ModelConfig("rnn", 1, 8, block="plain"),
]


def adapted(config, rank=3, alpha=5.0, parts=LORA_PARTS):
    model = LanguageModel(config, V)
    model.load_tensors(random_tensors(config, V))
    torch.manual_seed(1)
    return AdaptedModel(model, adapted_names(config, V, parts), rank, alpha, "digest")


def moved(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def window():
    torch.manual_seed(2)
    return torch.randint(V, (7, 4)), torch.randint(V, (7, 4))


@torch.no_grad()
@pytest.mark.parametrize("config", FORMS, ids=lambda c: c.cell)
def test_it_starts_as_the_model_that_it_changes(config, window):
    model = adapted(config)
    assert model.loss(*window)[0] == model.base.loss(*window)[0]


@torch.no_grad()
@pytest.mark.parametrize("config", FORMS, ids=lambda c: c.cell)
def test_the_merged_weights_compute_the_same(config, window):
    """The changes made as it computes, by PyTorch, and once and for all, by NumPy: equal to rounding."""
    model = moved(adapted(config))
    plain = LanguageModel(config, V)
    plain.load_tensors(merged(random_tensors(config, V), [model.adapter("base")]))
    torch.testing.assert_close(model.loss(*window)[0], plain.loss(*window)[0], rtol=1e-6, atol=1e-5)
    for name, tensor in model.tensors().items():
        np.testing.assert_allclose(tensor, plain.tensors()[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("config", FORMS, ids=lambda c: c.cell)
def test_gradients_follow_from_those_of_the_weights(config, window):
    """dL/dB = s · dL/dW' Aᵀ and dL/dA = s · Bᵀ dL/dW', where dL/dW' is what full fine-tuning would follow."""
    model = moved(adapted(config))
    model.loss(*window)[0].backward()
    plain = LanguageModel(config, V)
    plain.load_tensors(model.tensors())
    plain.loss(*window)[0].backward()
    for name, parameter in plain.named_parameters():
        if name not in model._names:
            continue
        key = model._names[name]
        A, B, dW = model.A[key], model.B[key], parameter.grad
        torch.testing.assert_close(B.grad, 5 / 3 * dW @ A.T, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(A.grad, 5 / 3 * B.T @ dW, rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in model.base.parameters())


def test_the_model_itself_is_no_parameter():
    model = adapted(FORMS[0])
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"A", "B"}
    assert len(list(model.parameters())) == 2 * 6  # two matrices a layer, embedding, output


def test_what_is_named_is_changed():
    model = moved(adapted(FORMS[0], parts=("weight_hh",)))
    before, after = model.base.tensors(), model.tensors()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"blocks.0.cell.weight_hh_l0", "blocks.1.cell.weight_hh_l0"}


def test_stacked_adapters_add_up():
    config = FORMS[0]
    one, two = moved(adapted(config)), moved(adapted(config, rank=2))
    tensors = random_tensors(config, V)
    both = merged(tensors, [one.adapter("base"), two.adapter("base")])
    for name, tensor in tensors.items():
        wanted = one.tensors()[name] + two.tensors()[name] - tensor
        np.testing.assert_allclose(both[name], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(tensors["embedding.weight"], random_tensors(config, V)["embedding.weight"])


def test_an_adapter_of_other_weights():
    model = moved(adapted(FORMS[0]))
    kept = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    moved(model)
    found = model.adapter("base", kept)
    assert isinstance(found, Adapter)
    np.testing.assert_array_equal(found.tensors["output.weight.A"], kept["A.output:weight"].numpy())


@pytest.mark.parametrize(
    ("config", "parts", "rank", "message"),
    [
        (FORMS[0], LORA_PARTS, 9, "rank of at most 8"),
        (FORMS[1], ("output",), 2, "output layer is its embedding"),
    ],
)
def test_what_does_not_fit(config, parts, rank, message):
    with pytest.raises(TidegateError, match=message):
        adapted(config, rank=rank, parts=parts)
