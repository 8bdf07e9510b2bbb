"""The tagger: neighbours and padding change nothing, its gradient, its folder, and its twin without PyTorch."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from tests.edited_json import edit_json
from tests.runtime.small_models import KINDS, tokenizer_of
from tidegate.config import ModelConfig
from tidegate.errors import TidegateError
from tidegate.folder.tagger_folder import TaggerFolder, read_tagger, tagger_shapes, write_tagger
from tidegate.models.tagger import Tagger, TaggerShape
from tidegate.nn.bidirectional import Bidirectional, reversed_within
from tidegate.runtime import encoder, stack, tagger
from tidegate.tag import Cut, token_pattern
from tidegate.text.entities import to_bio
from tidegate.text.word_features import SentenceEncoder, WordVocabulary, spoken
from tidegate.theory.crf import Chain, best
from tidegate.training.batches import Cursor
from tidegate.training.tag_task import EncodedSentences

TAGS = ("B-X", "E-X", "I-X", "O", "S-X")
SENTENCES = [
    ("ROMEO", ":", "But", "soft"),
    ("春", "眠", "不", "覺", "曉"),
    ("It",),
    ("Juliet", "is", "the", "sun", "!") * 4,
]
VOCABULARY = WordVocabulary(("but", "春", "is"), tuple("ROMEButis春眠"))


def folder_of(kind="bpe", cell="lstm", encoder_cell="lstm"):
    config = ModelConfig(cell=encoder_cell, hidden_size=7, layers=2)
    folder = TaggerFolder(config, tokenizer_of(kind), TAGS, VOCABULARY, cell, 5, 4, 6, 3, {})
    rng = np.random.default_rng(0)
    for name, shape in tagger_shapes(folder).items():
        folder.tensors[name] = rng.normal(size=shape).astype(np.float32) * np.float32(0.5)
    return folder


def model_of(folder):
    shape = TaggerShape(len(VOCABULARY.words) + 1, len(VOCABULARY.characters) + 1, folder.cell, 5, 4, 6, 3)
    model = Tagger(folder.model, folder.tokenizer.vocabulary_size, shape, TAGS)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == tagger_shapes(folder)
    model.load_tensors(folder.tensors)
    return model


def batch_of(folder, sentences):
    encoded = [SentenceEncoder(folder.tokenizer, VOCABULARY).encode(tokens) for tokens in sentences]
    tags = [np.arange(len(tokens)) % 5 for tokens in sentences]
    return EncodedSentences(encoded, tags).batch(np.arange(len(sentences)), Cursor(0, 0))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_neighbours_and_padding_change_nothing(cell):
    folder = folder_of(cell=cell)
    model = model_of(folder)
    together = model.emissions(batch_of(folder, SENTENCES).words)
    for lane, tokens in enumerate(SENTENCES):
        alone = model.emissions(batch_of(folder, [tokens]).words)[:, 0]
        torch.testing.assert_close(together[: len(tokens), lane], alone, rtol=1e-4, atol=1e-5)


def test_two_directions_are_those_of_torch():
    layer = Bidirectional("lstm", 3, 4)
    peer = torch.nn.LSTM(3, 4, bidirectional=True)
    for way, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(peer, name + suffix).data = getattr(way, name).data
    x, lengths = torch.randn(6, 3, 3), torch.tensor([6, 1, 4])
    y, last = layer(x, lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    out, (h, _) = peer(packed)
    torch.testing.assert_close(y, torch.nn.utils.rnn.pad_packed_sequence(out)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(last, torch.cat([h[0], h[1]], dim=-1), rtol=1e-5, atol=1e-6)
    assert torch.equal(reversed_within(reversed_within(x, lengths), lengths), x)


def test_its_gradient_agrees_with_finite_differences():
    folder = folder_of()
    model = model_of(folder).double()
    batch = batch_of(folder, SENTENCES[:3])
    names = ["embedding.weight", "word_embedding.weight", "character_embedding.weight", "emission.weight"]
    names += ["sentence_layer.backwards.weight_hh_l0", "character_layer.forwards.weight_ih_l0", "crf.transitions"]
    weights = [dict(model.named_parameters())[name] for name in names]
    tags = torch.from_numpy(np.array([3, 4, 3, 4, 3]))[:, None].expand(5, 3)
    gradients = torch.autograd.grad(model.loss(batch.words, tags), weights)
    rng = np.random.default_rng(3)
    for name, weight, gradient in zip(names, weights, gradients, strict=True):
        direction = torch.from_numpy(rng.normal(size=tuple(weight.shape)))
        with torch.no_grad():
            steps = []
            for sign in (1, -1):
                weight += sign * 1e-6 * direction
                steps.append(model.loss(batch.words, tags).item())
                weight -= sign * 1e-6 * direction
        expected = (gradient * direction).sum().item()
        assert expected != 0, name
        assert (steps[0] - steps[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numpy_stack", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_running_half_gives_the_same(kind, numpy_stack, cell, monkeypatch):
    for module in (encoder, tagger):
        if numpy_stack:
            monkeypatch.setattr(module, "stack", stack.NumpyStack)
        monkeypatch.setattr(module, "BATCH", 3)
    folder = folder_of(kind, cell, "gru")
    model, running = model_of(folder), tagger.Tagger(folder)
    found, tags = running.emissions([*SENTENCES, ()]), running.tag([*SENTENCES, ()])
    assert found[-1].shape == (0, 5)
    assert tags[-1] == ()
    for other in (copy.deepcopy(running), pickle.loads(pickle.dumps(running))):
        assert other.tag(SENTENCES) == tags[:-1]
    for letters in ("It is", ["It", "is"], iter(["It is"])):
        with pytest.raises(TidegateError, match="must be a list of tokens"):
            running.tag(letters)
    chain = Chain(*(score.detach().numpy() for score in model.crf.scores()))
    for tokens, emissions, given in zip(SENTENCES, found, tags, strict=False):
        with torch.no_grad():
            expected = model.emissions(batch_of(folder, [tokens]).words)[:, 0].numpy()
        np.testing.assert_allclose(emissions, expected, rtol=1e-3, atol=5e-5)
        assert given == to_bio([TAGS[k] for k in best(expected, chain)])


@pytest.mark.parametrize("kind", KINDS)
def test_each_word_ends_where_its_last_token_does(kind):
    tokenizer = tokenizer_of(kind)
    sentences = SentenceEncoder(tokenizer, VOCABULARY)
    for tokens in SENTENCES:
        one = sentences.encode(tokens)
        assert one.ids[0] == tokenizer.document_id
        assert len(one.ends) == len(tokens)
        assert one.ends[-1] == len(one.ids) - 1
        if tokenizer.unknown_id is None:
            for tokens_so_far, end in zip(range(1, len(tokens) + 1), one.ends, strict=True):
                read = b"".join(tokenizer.token_bytes(int(token)) for token in one.ids[1 : end + 1])
                assert read.startswith("".join(spoken(tokens)[:tokens_so_far]).encode())


def test_spaces_stand_where_the_script_has_them():
    assert "".join(spoken(["The", "tide", "."])) == "The tide ."
    assert "".join(spoken(["潮", "水", "rises", "again", "。"])) == "潮水rises again。"


def test_decomposed_letters_are_those_of_the_normal_form():
    sentences = SentenceEncoder(tokenizer_of("bytes"), VOCABULARY)
    one, two = sentences.encode(["café", "x"]), sentences.encode(["cafe\u0301", "x"])
    assert one.ends.tolist() == two.ends.tolist() == [5, 7]
    assert one.spellings == two.spellings
    with pytest.raises(TidegateError, match="Token 2 of a sentence is empty"):
        sentences.encode(["a", " "])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("我用Python编程，A4纸3月", ["我", "用", "Python", "编", "程", "，", "A4", "纸", "3", "月"]),
        ("It's 1,800.5 m.", ["It's", "1,800.5", "m", "."]),
        ("3D-x", ["3D", "-", "x"]),
    ],
)
def test_a_text_is_cut_into_words_marks_and_chinese_characters(text, tokens):
    cut = Cut.of(text, token_pattern())
    assert cut.tokens == tokens
    assert "".join([*cut.pieces, cut.rest]) == text


def test_its_folder_is_read_back_and_changes_are_refused(tmp_path):
    folder = folder_of()
    write_tagger(tmp_path, folder)
    found = read_tagger(tmp_path)
    assert (found.tags, found.vocabulary, found.cell, found.units) == (TAGS, VOCABULARY, "lstm", 5)
    assert all(np.array_equal(found.tensors[name], tensor) for name, tensor in folder.tensors.items())
    content = json.loads((tmp_path / "tagger.json").read_text("utf-8"))
    for change, message in (
        ({"tags": list(TAGS[::-1])}, "with other tags"),
        ({"words": ["but", "is", "春"]}, "with other words"),
        ({"words": ["but", "but", "is"]}, "different names"),
        ({"units": 6}, "other names or shapes"),
        ({"units": 0}, "units is 0"),
        ({"cell": "mlp"}, "not known"),
        ({"cell": "gru"}, "other names or shapes"),
        ({"model": content["model"] | {"direction": "backward"}}, "with other settings"),
        ({"tokenizer_digest": "x"}, "another tokenizer"),
        ({"format_version": 9}, "version 9"),
        ({"more": 1}, "other fields"),
    ):
        edit_json(tmp_path / "tagger.json", **content | change)
        with pytest.raises(TidegateError, match=message):
            read_tagger(tmp_path)
    with pytest.raises(TidegateError, match="not there"):
        read_tagger(tmp_path / "nowhere")
