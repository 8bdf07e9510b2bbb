"""The base models that travel with the package: found by name, small, whole, and honest about what they learnt from."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import tidegate
from tidegate.errors import TidegateError
from tidegate.folder.bases import base_names, find_model
from tidegate.folder.model_folder import ModelFolder
from tidegate.runtime.sampling import Sampling

BASES = base_names()


def test_there_are_some():
    assert BASES == ["base-en", "base-zh"]


@pytest.mark.parametrize("name", BASES)
def test_it_is_small_whole_and_lacks_no_character(name):
    folder = ModelFolder.read(name)
    assert folder.metadata["storage"] == "int8"
    assert sum(path.stat().st_size for path in folder.path.iterdir()) < 8_000_000
    assert folder.tokenizer.unknown_id is None
    text = tidegate.load(name).generate("潮", sampling=Sampling(seed=1), max_tokens=20)
    assert text


@pytest.mark.parametrize("name", BASES)
def test_its_card_names_every_source_with_licence_and_share(name):
    card = (find_model(name) / "README.md").read_text(encoding="utf-8")
    shares = [float(share) for share in re.findall(r"([\d.]+)% of the bytes", card)]
    assert len(shares) >= 5
    assert sum(shares) == pytest.approx(100, abs=1)
    assert card.count("licence: ") == len(shares)
    assert "evaluations that this text contaminates" in card
    assert "before the rounding to int8" in card


def test_a_name_that_is_none_lists_them():
    with pytest.raises(TidegateError, match=r"the name of a base model: base-en, base-zh.*did you mean 'base-zh'"):
        ModelFolder.read("base-zn")


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    (tmp_path / "base-zh").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TidegateError, match="base-zh is no model folder"):
        ModelFolder.read("base-zh")


def test_it_is_fine_tuned_by_name(tmp_path):
    (tmp_path / "t.txt").write_text("却说那天夜里，潮水涨了上来。\n" * 90, encoding="utf-8")
    words = ["finetune", "base-zh", "t.txt", "--steps", "3", "--lanes", "2", "--window", "8", "--cache", "c"]
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/base-zh-t/model.safetensors").exists()
    assert "fine-tuned from base-zh" in (tmp_path / "runs/base-zh-t/README.md").read_text(encoding="utf-8")
