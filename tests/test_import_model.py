"""Weights from elsewhere: the imported model computes what torch.nn's layers do; what is no such model is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import tidegate
from tidegate.cli import main
from tidegate.errors import TidegateError
from tidegate.import_model import ImportSettings, import_model

WORDS = ["<eos>", "the", "tide", "<unk>", "comes", "in"]


class Model(nn.Module):
    """As a hundred tutorials have it."""

    def __init__(self, cell, V, E, H, layers, bias=True, decoder_bias=True):
        super().__init__()
        self.encoder = nn.Embedding(V, E)
        self.rnn = cell(E, H, layers, bias=bias)
        self.decoder = nn.Linear(H, V, bias=decoder_bias)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, ids):
        return self.decoder(self.rnn(self.encoder(ids))[0])


def imported(tmp_path, model, names, **settings):
    safetensors.torch.save_file({n: t.clone() for n, t in model.state_dict().items()}, tmp_path / "w.safetensors")
    (tmp_path / "v.json").write_text(json.dumps(names), encoding="utf-8")
    how = {"vocabulary": str(tmp_path / "v.json"), "out": str(tmp_path / "out"), **settings}
    if isinstance(getattr(model, "rnn", None), nn.RNN):
        how.setdefault("nonlinearity", "tanh")
    assert import_model(ImportSettings(str(tmp_path / "w.safetensors"), **how)) == 0
    return tidegate.load(tmp_path / "out")


@torch.no_grad()
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(("E", "layers", "bias"), [(5, 1, True), (7, 2, False), (7, 3, True)])
def test_the_logits_are_those_of_torch(tmp_path, cell, E, layers, bias):
    """Characters in any order: the same text, token by token."""
    torch.manual_seed(3)
    names = ["潮", "b", "a", " ", "\n", "水"]
    plain = Model(cell, len(names), E, 7, layers, bias, decoder_bias=bias)
    model = imported(tmp_path, plain, names)
    text = "潮水 ab\n潮"
    wanted = plain(torch.tensor([[names.index(c)] for c in text]))[:, 0].numpy()
    state = model.initial_state()
    for position, token in enumerate(model.tokenizer.encode(text)):
        logits, state = model.step(int(token), state)
        for c in names:
            found = logits[int(model.tokenizer.encode(c)[0])]
            assert found == pytest.approx(wanted[position][names.index(c)], rel=1e-4, abs=1e-4)


@torch.no_grad()
def test_words_and_a_tied_decoder(tmp_path):
    plain = Model(nn.LSTM, len(WORDS), 6, 6, 1)
    plain.decoder.weight = plain.encoder.weight
    model = imported(tmp_path, plain, {name: number for number, name in enumerate(WORDS)}, tokens="whitespace")
    assert model.config.tied
    ids = model.tokenizer.encode(" the tide comes in \n the moon")
    assert model.tokenizer.decode(ids) == " the tide comes in \n the\ufffd"
    numbers = [1, 2, 4, 5, 0, 1, 3]
    wanted = plain(torch.tensor(numbers)[:, None])[-1, 0].numpy()
    logits, _ = model.read(ids, model.initial_state())
    np.testing.assert_allclose(logits[int(ids[1])], wanted[2], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits[model.tokenizer.unknown_id], wanted[3], rtol=1e-4, atol=1e-4)
    assert "imported from" in (tmp_path / "out/README.md").read_text("utf-8")


def weights(change):
    tensors = dict(Model(nn.LSTM, 4, 3, 5, 2).state_dict())
    change(tensors)
    return tensors


MISTAKES = [
    (lambda t: t.pop("rnn.weight_hh_l1"), "weight_hh_l1 is missing"),
    (lambda t: t.update({"rnn.weight_ih_l0_reverse": t["rnn.weight_ih_l0"].clone()}), "bidirectional"),
    (lambda t: t.update({"rnn.weight_hr_l0": torch.zeros(2, 5)}), "projections"),
    (lambda t: t.update({"rnn.weight_hh_l0": t["rnn.weight_hh_l0"].t().contiguous()}), "its transpose would fit"),
    (lambda t: t.update({"rnn.weight_hh_l1": torch.zeros(15, 5)}), "of one cell in all layers"),
    (lambda t: t.update({"steps": torch.tensor(3.0)}), r"steps \(\): remove"),
    (lambda t: t.update({"other.weight_ih_l0": t["rnn.weight_ih_l0"].clone()}), "expected is one stack"),
    (lambda t: t.pop("encoder.weight"), "one embedding"),
    (lambda t: t.pop("decoder.weight"), "one decoder"),
    (lambda t: t.update({"decoder.weight": torch.zeros(4, 9)}), "one decoder"),
    (lambda t: t.update({"decoder.weight": torch.zeros(9, 5)}), "the decoder must be"),
    (lambda t: t.update({"rnn.bias_ih_l0": torch.zeros(7)}), "bias_ih_l0 is"),
    (lambda t: t.update({"conv.weight": torch.zeros(2, 2, 2)}), "conv.weight"),
    (lambda t: t.update({"encoder.weight": torch.full((4, 3), float("nan"))}), "not finite"),
    (lambda t: [t.pop(n) for n in list(t) if n.startswith("rnn")], "expected is one stack"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_what_is_no_such_model(tmp_path, change, message):
    safetensors.torch.save_file(weights(change), tmp_path / "w.safetensors")
    (tmp_path / "v.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(TidegateError, match=message):
        import_model(
            ImportSettings(str(tmp_path / "w.safetensors"), str(tmp_path / "v.txt"), out=str(tmp_path / "out"))
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ("a\nb\nc", "has 3 tokens"),
        ("a\nb\nc\na", "'a' twice, as numbers 0 and 3"),
        ("a\nb\nc\ndd", "not one character"),
        ("[1, 2]", "strings"),
        ("[", "JSON"),
    ],
)
def test_vocabularies_that_do_not_fit(tmp_path, vocabulary, message):
    safetensors.torch.save_file(weights(lambda t: None), tmp_path / "w.safetensors")
    (tmp_path / "v.txt").write_text(vocabulary)
    with pytest.raises(TidegateError, match=message):
        import_model(
            ImportSettings(str(tmp_path / "w.safetensors"), str(tmp_path / "v.txt"), out=str(tmp_path / "out"))
        )


# ---- Weights as other projects save them -----------------------------------------------------------------------------


def read_all(model, names, text):
    """The logits after a text, in the order of `names`."""
    logits, _ = model.read(model.tokenizer.encode(text), model.initial_state())
    return np.array([logits[int(model.tokenizer.encode(name)[0])] for name in names])


def imported_tensors(tmp_path, tensors, names, **settings):
    safetensors.torch.save_file(
        {n: t.detach().clone().contiguous() for n, t in tensors.items()}, tmp_path / "w.safetensors"
    )
    (tmp_path / "v.json").write_text(json.dumps(names), encoding="utf-8")
    how = {"vocabulary": str(tmp_path / "v.json"), "out": str(tmp_path / "out"), **settings}
    assert import_model(ImportSettings(str(tmp_path / "w.safetensors"), **how)) == 0
    return tidegate.load(tmp_path / "out")


LETTERS = list("abcde")


@torch.no_grad()
def wanted_of(model):
    return model(torch.tensor([[LETTERS.index(c)] for c in "abeda"]))[-1, 0].float().numpy()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_widths(tmp_path, dtype):
    plain = Model(nn.LSTM, 5, 4, 6, 2).to(dtype).float()
    model = imported_tensors(tmp_path, {n: t.to(dtype) for n, t in plain.state_dict().items()}, LETTERS)
    np.testing.assert_allclose(read_all(model, LETTERS, "abeda"), wanted_of(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kept", ["encoder", "decoder"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module."])
def test_tied_weights_saved_once_under_any_prefix(tmp_path, kept, prefix):
    plain = Model(nn.GRU, 5, 6, 6, 1)
    plain.decoder.weight = plain.encoder.weight
    lost = "decoder" if kept == "encoder" else "encoder"
    tensors = {prefix + n: t for n, t in plain.state_dict().items() if n != f"{lost}.weight"}
    model = imported_tensors(tmp_path, tensors, LETTERS)
    assert model.config.tied
    np.testing.assert_allclose(read_all(model, LETTERS, "abeda"), wanted_of(plain), rtol=1e-4, atol=1e-4)


class Stacked(nn.Module):
    """AWD-LSTM (Merity et al. 2018): layers of several sizes, the last as large as the embedding, which is tied."""

    def __init__(self, cell):
        super().__init__()
        self.encoder = nn.Embedding(5, 4)
        self.rnns = nn.ModuleList([cell(4, 7), cell(7, 7), cell(7, 4)])
        self.decoder = nn.Linear(4, 5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids):
        x = self.encoder(ids)
        for rnn in self.rnns:
            x = rnn(x)[0]
        return self.decoder(x)


def as_salesforce(tensors):
    return {
        n.replace(".weight_hh_l0", ".module.weight_hh_l0_raw").replace(".weight_ih", ".module.weight_ih").replace(
            ".bias", ".module.bias"
        ) if n.startswith("rnns") else n: t for n, t in tensors.items()
    }  # fmt: skip


def as_fastai(tensors):
    found = {"0.encoder_dp.emb.weight": tensors["encoder.weight"]}
    for n, t in tensors.items():
        layer, _, kind = n.rpartition(".")
        if n.startswith("rnns") and kind == "weight_hh_l0":
            found[f"0.{layer}.weight_hh_l0_raw"] = t
            found[f"0.{layer}.module.weight_hh_l0"] = t * 0  # with dropout applied
        elif n.startswith("rnns"):
            found[f"0.{layer}.module.{kind}"] = t
        else:
            found[f"{1 if n.startswith('decoder') else 0}.{n}"] = t
    return found


@pytest.mark.parametrize("naming", [dict, as_salesforce, as_fastai])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_layers_of_several_sizes_under_weight_dropout(tmp_path, cell, naming):
    plain = Stacked(cell)
    how = {"nonlinearity": "tanh"} if cell is nn.RNN else {}
    model = imported_tensors(tmp_path, naming(plain.state_dict()), LETTERS, **how)
    assert (model.config.layers, model.config.hidden_size, model.config.E) == (3, 7, 4)
    np.testing.assert_allclose(read_all(model, LETTERS, "abeda"), wanted_of(plain), rtol=1e-4, atol=1e-4)


def test_an_embedding_wider_than_the_layers(tmp_path):
    plain = Model(nn.LSTM, 5, 9, 6, 2)
    model = imported_tensors(tmp_path, plain.state_dict(), LETTERS)
    np.testing.assert_allclose(read_all(model, LETTERS, "abeda"), wanted_of(plain), rtol=1e-4, atol=1e-4)


def test_stacks_that_are_not_numbered_are_listed(tmp_path):
    tensors = {n.replace("rnns.2", "rnns.3"): t for n, t in Stacked(nn.LSTM).state_dict().items()}
    with pytest.raises(TidegateError, match=r"has .*rnns\.3\.weight_ih_l0 \(16, 7\).*; expected is one stack"):
        imported_tensors(tmp_path, tensors, LETTERS)


@pytest.mark.parametrize(
    ("cell", "given", "message"),
    [
        (nn.RNN, None, "give --nonlinearity tanh"),
        (nn.RNN, "relu", "cannot be imported"),
        (nn.GRU, "tanh", "has GRU layers: omit it"),
        (nn.RNN, "gelu", "must be one of tanh, relu"),
    ],
)
def test_an_rnns_nonlinearity_is_asked_for(tmp_path, cell, given, message):
    with pytest.raises(TidegateError, match=message):
        imported_tensors(tmp_path, Model(cell, 5, 4, 6, 1).state_dict(), LETTERS, nonlinearity=given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", [b"a\r\nb\r\nc\r\nd\r\ne\r\n", b"\xef\xbb\xbfa\r\nb\r\nc\r\nd\r\ne", b"a\nb\nc\nd\ne"]
)
def test_vocabularies_from_windows(tmp_path, content):
    plain = Model(nn.LSTM, 5, 4, 6, 1)
    safetensors.torch.save_file(dict(plain.state_dict()), tmp_path / "w.safetensors")
    (tmp_path / "v.txt").write_bytes(content)
    how = {"vocabulary": str(tmp_path / "v.txt"), "out": str(tmp_path / "out")}
    import_model(ImportSettings(str(tmp_path / "w.safetensors"), **how))
    found = read_all(tidegate.load(tmp_path / "out"), LETTERS, "abeda")
    np.testing.assert_allclose(found, wanted_of(plain), rtol=1e-4, atol=1e-4)


def test_the_command_line(tmp_path, capsys):
    (tmp_path / "w.pt").write_bytes(b"x")
    common = ["--vocabulary", "v", "--out", str(tmp_path / "out")]
    assert main(["import", str(tmp_path / "w.pt"), *common]) == 2
    assert "pickle" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "w.safetensors"), *common]) == 2
    assert main(["import", "w.safetensors", "--out", str(tmp_path)]) == 2
    assert "vocabulary is not given" in capsys.readouterr().err
    assert main(["import", "w.safetensors", "--vocabulary", "v", "--out", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
    st.floats(0, 1),
    st.sampled_from(["weights", "vocabulary"]),
)
def test_files_with_any_damage_give_a_model_or_a_sentence(tmp_path, changes, kept, which):
    """A byte changed anywhere, or the end cut off; what is written then is a whole folder."""
    torch.manual_seed(3)
    plain = Model(nn.GRU, len(WORDS), 4, 5, 1)
    weights, vocabulary, out = tmp_path / "w.safetensors", tmp_path / "v.json", tmp_path / "out"
    safetensors.torch.save_file({n: t.clone() for n, t in plain.state_dict().items()}, weights)
    vocabulary.write_text(json.dumps(WORDS), encoding="utf-8")
    damaged = weights if which == "weights" else vocabulary
    content = bytearray(damaged.read_bytes())
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    damaged.write_bytes(content[: max(1, int(kept * len(content)))] if kept > 0.3 else content)
    shutil.rmtree(out, ignore_errors=True)
    try:
        import_model(ImportSettings(str(weights), vocabulary=str(vocabulary), tokens="whitespace", out=str(out)))
        found = tidegate.load(out).generate(" the", max_tokens=2)
    except TidegateError as error:
        found = str(error)
    assert 0 < len(found) < 1000
