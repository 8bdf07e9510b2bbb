"""What Python callers give: one string for several, paths, NumPy's numbers, keywords; copies and pickles."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidegate
from tests.conftest import subprocess_environment
from tests.runtime.small_models import KINDS, small_model, write_folder
from tidegate import ModelConfig, Sampling, TidegateError, native
from tidegate.arguments import one_or_more


@given(st.text(), st.lists(st.text()))
def test_one_string_or_path_is_not_its_letters(text, texts):
    assert list(one_or_more(text)) == [text]
    assert list(one_or_more(Path(text.replace("\0", "") or "x"))) == [Path(text.replace("\0", "") or "x")]
    assert list(one_or_more(texts)) == texts


def test_dir_lists_what_is_loaded_lazily():
    assert set(tidegate.__all__) <= set(dir(tidegate))


def test_a_lone_stop_string():
    model = small_model()
    text = model.generate("It is", max_tokens=200, seed=3)
    stop = text[40:43]
    assert model.generate("It is", max_tokens=200, seed=3, stop=stop) == text[: text.index(stop)]
    assert "".join(model.stream("It is", max_tokens=200, seed=3, stop=stop)) == text[: text.index(stop)]


def test_settings_of_sampling_as_keywords():
    """Alone, or in place of those of a Sampling."""
    model = small_model()
    given = Sampling(temperature=0.5, top_k=5, seed=9)
    wanted = model.generate("It", sampling=given, max_tokens=30)
    assert model.generate("It", temperature=0.5, top_k=5, seed=9, max_tokens=30) == wanted
    assert model.generate("It", sampling=Sampling(top_k=5, seed=9), temperature=0.5, max_tokens=30) == wanted
    for name, value in asdict(given).items():
        model.generate("It", max_tokens=1, **{name: value})
    with pytest.raises(TypeError, match=r"'temprature' is no setting of sampling.*temperature"):
        model.generate("It", temprature=0.5)
    with pytest.raises(TidegateError, match="temperature is -1"):
        model.generate("It", temperature=-1)


NUMBERS = {"temperature": np.float32(0.5), "top_k": np.int64(5), "top_p": np.float64(0.9), "seed": np.uint8(7)}


def test_numpys_numbers_are_pythons():
    sampling = Sampling(**NUMBERS)
    assert sampling == Sampling(temperature=0.5, top_k=5, top_p=0.9, seed=7)
    config = ModelConfig(layers=np.int32(1), hidden_size=np.int64(8), embedding_size=8.0)
    assert config == ModelConfig(layers=1, hidden_size=8, embedding_size=8)
    for settings in (sampling, config):
        json.dumps(asdict(settings))
        assert all(type(getattr(settings, f.name)) in (int, float, str, bool, type(None)) for f in fields(settings))
    model = small_model(config=config)
    wanted = model.generate("It", sampling=sampling, max_tokens=9, sample=1)
    assert model.generate("It", max_tokens=np.int64(9), sample=np.int32(1), **NUMBERS) == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top_k": 2.5}, "top_k is 2.5, but it must be a whole number"),
        ({"temperature": "0.7"}, "temperature is '0.7', but it must be a number"),
        ({"seed": float("nan")}, "seed is nan"),
        ({"top_k": float("inf")}, "top_k is inf"),
        ({"temperature": np.float32("nan")}, "temperature is nan"),
        ({"top_p": [0.5]}, r"top_p is \[0.5\]"),
    ],
)
def test_what_is_no_such_number(values, message):
    with pytest.raises(TidegateError, match=message):
        Sampling(**values)


@pytest.mark.parametrize("values", [{"max_tokens": 2.0}, {"max_tokens": "9"}, {"sample": 1.5}])
def test_counts_are_whole_numbers(values):
    with pytest.raises(TidegateError, match="must be a whole number"):
        small_model().generate("It", **values)


def test_a_lone_text_and_a_lone_path(tmp_path):
    (tmp_path / "corpus.txt").write_text("the tide comes in at noon", encoding="utf-8")
    for text in ("the tide comes", ["the tide comes"]):
        for data in (tmp_path / "corpus.txt", str(tmp_path / "corpus.txt"), [tmp_path]):
            [found] = tidegate.overlaps_with_files(text, data)
            assert found.stretch == "the tide comes"


def test_a_lone_adapter_is_one(tmp_path):
    folder = write_folder(tmp_path / "model")
    for adapters in ("runs/nothing", Path("runs/nothing")):
        with pytest.raises(TidegateError, match="nothing"):
            tidegate.load(folder, adapters)
        with pytest.raises(TidegateError, match="nothing"):
            tidegate.load(folder).adapted(adapters)


# ---- Copies and pickles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("core", [True, False], ids=["native", "numpy"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_is_copied_and_pickled(tmp_path, kind, core, monkeypatch):
    if not core:
        monkeypatch.setattr(native, "core", lambda: None)
    model = tidegate.load(write_folder(tmp_path / "model", kind))
    wanted = model.generate("It is", max_tokens=40)
    for other in (copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert other.generate("It is", max_tokens=40) == wanted
        assert other.digest == model.digest


def test_a_model_goes_to_a_process_that_is_started_anew(tmp_path):
    code = (
        "import multiprocessing, sys, tidegate\n"
        "if __name__ == '__main__':\n"
        "    model = tidegate.load(sys.argv[1])\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        found = pool.apply(model.generate, ('It is',), {'max_tokens': 9})\n"
        "        print('same' if found == model.generate('It is', max_tokens=9) else found)\n"
    )
    (tmp_path / "program.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py", write_folder(tmp_path / "model")], capture_output=True, text=True,
        check=False, env=subprocess_environment(tmp_path),
    )  # fmt: skip
    assert done.stdout.strip() == "same", done.stderr
