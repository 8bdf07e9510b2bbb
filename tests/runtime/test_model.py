"""The running half computes what PyTorch computes, from a state that is nobody's property."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tidegate
import tidegate.runtime.stream
from tests.runtime.small_models import FORMS, random_tensors, small_model, tokenizer_of, write_folder
from tests.runtime.torch_model import logits_of
from tidegate import native
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.runtime.model import Model
from tidegate.runtime.sampling import Sampling
from tidegate.runtime.stack import ENOUGH_TOKENS, NativeStack, NumpyStack

EPS = float(np.finfo(np.float32).eps)
IDS = [0, 5, 3, 3, 9, 1, 7, 2, 11, 4]


def tolerance(config: ModelConfig, logits: np.ndarray) -> float:
    """Float32's rounding over the longest chain of sums: per step and layer some 4 sums of H terms, all of size 1."""
    terms = len(IDS) * config.layers * 4 * config.hidden_size
    return EPS * terms * max(1.0, float(np.abs(logits).max()))


@pytest.mark.parametrize("config", FORMS, ids=str)
def test_logits_are_those_of_pytorch(config):
    tokenizer = tokenizer_of()
    tensors = random_tensors(config, tokenizer.vocabulary_size)
    model = Model(config, tokenizer, tensors)
    wanted = logits_of(config, tensors, IDS)
    state = model.initial_state()
    for t, token_id in enumerate(IDS):
        logits, state = model.step(token_id, state)
        assert logits.dtype == np.float32
        assert logits.shape == (tokenizer.vocabulary_size,)
        assert all(values.dtype == np.float32 for layer in state for values in layer)
        assert np.abs(logits - wanted[t]).max() < tolerance(config, wanted)


def test_the_tolerance_sees_a_wrong_weight():
    """The comparison above can fail: one bias, changed by 0.1 %, is far outside."""
    config, tokenizer = FORMS[0], tokenizer_of()
    tensors = random_tensors(config, tokenizer.vocabulary_size)
    wanted = logits_of(config, tensors, IDS)
    tensors["blocks.1.cell.bias_hh_l0"] = tensors["blocks.1.cell.bias_hh_l0"] * np.float32(1.001)
    logits, _ = Model(config, tokenizer, tensors).read(IDS, Model(config, tokenizer, tensors).initial_state())
    assert np.abs(logits - wanted[-1]).max() > tolerance(config, wanted)


@pytest.mark.parametrize("config", FORMS[::6], ids=str)
def test_reading_is_stepping(config):
    model = small_model(config=config)
    state = model.initial_state()
    for token_id in IDS:
        logits, state = model.step(token_id, state)
    read, after = model.read(np.array(IDS, np.uint32), model.initial_state())
    assert np.array_equal(read, logits)
    assert all(np.array_equal(a, b) for x, y in zip(after, state, strict=True) for a, b in zip(x, y, strict=True))
    first, middle = model.read(IDS[:4], model.initial_state())
    assert np.array_equal(model.read(IDS[4:], middle)[0], logits)
    assert not np.array_equal(first, logits)


@pytest.mark.parametrize("config", FORMS, ids=str)
@pytest.mark.parametrize("count", [ENOUGH_TOKENS - 1, ENOUGH_TOKENS, 40])
def test_the_native_stack_computes_what_the_plain_one_does(config, count, monkeypatch):
    """From a state that is not zero, over short readings and long ones; and where there is no core, NumPy computes."""
    model = small_model(config=config)
    monkeypatch.setattr(native, "core", lambda: None)
    plain = small_model(config=config)
    assert type(plain._stack) is NumpyStack
    monkeypatch.undo()
    if native.core() is None:
        pytest.skip("the native core is not here")
    assert type(model._stack) is NativeStack
    _, begun = plain.read(IDS, plain.initial_state())
    kept = [[values.copy() for values in layer] for layer in begun]
    ids = np.resize(IDS, count)
    for logits, wanted in zip(_flat(model.read(ids, begun)), _flat(plain.read(ids, begun)), strict=True):
        assert logits.shape == wanted.shape
        assert np.abs(logits - wanted).max() < tolerance(config, wanted) * count / len(IDS)
    assert all(np.array_equal(a, b) for x, y in zip(kept, begun, strict=True) for a, b in zip(x, y, strict=True))


def _flat(read):
    logits, state = read
    return [logits, *(values for layer in state for values in layer)]


def test_a_state_is_never_changed():
    model = small_model()
    _, state = model.read(IDS, model.initial_state())
    before = [values.copy() for layer in state for values in layer]
    once, _ = model.read([3, 4], state)
    again, _ = model.read([3, 4], state)
    assert np.array_equal(once, again)
    assert all(np.array_equal(a, b) for a, b in zip(before, [v for layer in state for v in layer], strict=True))


def test_one_model_serves_several_threads():
    model = small_model()

    def write(sample: int) -> str:
        return model.generate("春", max_tokens=60, sample=sample, end_at_document=False)

    alone = [write(sample) for sample in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(8))) == alone
    assert len(set(alone)) == 8


@pytest.mark.parametrize("token_id", [-1, 10**6])
def test_an_id_outside_the_vocabulary_is_refused(token_id):
    model = small_model()
    with pytest.raises(TidegateError, match=f"token id is {token_id}, but this model has ids from 0 to"):
        model.step(token_id, model.initial_state())


def test_reading_nothing_is_refused():
    model = small_model()
    with pytest.raises(TidegateError, match="No token was given"):
        model.read([], model.initial_state())


def test_weights_of_another_shape_are_refused():
    tokenizer = tokenizer_of()
    with pytest.raises(TidegateError, match=r"The model.*shape"):
        Model(
            ModelConfig(hidden_size=8), tokenizer, random_tensors(ModelConfig(hidden_size=9), tokenizer.vocabulary_size)
        )


def test_loads_from_a_folder(tmp_path):
    model = tidegate.load(write_folder(tmp_path / "run", seed=3))
    assert np.array_equal(
        model.read(IDS, model.initial_state())[0], small_model(seed=3).read(IDS, model.initial_state())[0]
    )


def test_weights_so_large_that_logits_overflow_are_told():
    tokenizer, config = tokenizer_of(), ModelConfig(hidden_size=8, block="plain")
    tensors = random_tensors(config, tokenizer.vocabulary_size)
    tensors["output.weight"] = np.full_like(tensors["output.weight"], 3e38) * np.sign(tensors["output.weight"])
    with pytest.raises(TidegateError, match="not all finite"):
        Model(config, tokenizer, tensors).generate(max_tokens=200)


def test_torch_is_never_imported(tmp_path):
    write_folder(tmp_path / "run", "bpe")
    code = (
        "import sys, tidegate\n"
        "text = tidegate.load(sys.argv[1]).generate('春', max_tokens=5)\n"
        "from tidegate.generate import GenerateSettings, generate\n"
        "generate(GenerateSettings(sys.argv[1], prompt='x', max_tokens=5), tidegate.Sampling())\n"
        "print('torch' in sys.modules, 'tidegate.runtime.model' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, check=True)
    assert run.stdout.decode("utf-8").splitlines()[-1] == "False True"


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_memory_stays_flat_over_many_tokens(kind):
    model = small_model(kind, config=ModelConfig(hidden_size=2, layers=1, cell="rnn"))
    options = Sampling(repetition_penalty=1.1)
    pieces = model.stream("春", sampling=options, max_tokens=None, stop=["絕不"], end_at_document=False)
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(4):
            for _ in range(700):
                next(pieces)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # what leaks, leaks in every span; an interpreter's or a library's own cache may grow in one
    assert min(np.diff(sizes)) < 700, f"a byte a token is more than nothing: {sizes}"


def test_a_long_prompt_costs_constant_memory(monkeypatch):
    monkeypatch.setattr(tidegate.runtime.stream, "PIECE", 256)
    model = small_model(config=ModelConfig(hidden_size=2, layers=1, cell="rnn"))

    def peak(lines: int) -> int:
        tracemalloc.start()
        try:
            model.generate(("But soft, 春眠不覺曉\n" for _ in range(lines)), max_tokens=1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    small = peak(50)
    assert small < 200_000
    assert peak(500) < small + 30_000
