"""Tagged sentences: the forms of their files, and what is wrong with them, told at its line."""

from __future__ import annotations

import gzip
import json

import pytest

from tidegate.errors import TidegateError
from tidegate.text import tagged
from tidegate.text.tagged import Sentence, TagReading, read_tagged

SENTENCE = Sentence(("房", "间", "very", "big"), ("B-X", "I-X", "O", "O"))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def read(*paths, **how):
    return [
        sentence
        for file in read_tagged([str(path) for path in paths], TagReading(**how))
        for sentence in file.sentences
    ]


def test_columns_conllu_and_json_lines(tmp_path):
    columns = write(tmp_path / "a.conll", "房 N B-X\n间 N I-X\nvery A O\nbig A O\n\n-DOCSTART- X O\n\nend N O\n")
    assert read(columns) == [SENTENCE, Sentence(("end",), ("O",))]
    assert read(columns, tag_column=2)[0].tags == ("N", "N", "A", "A")
    record = {"tokens": SENTENCE.tokens, "tags": SENTENCE.tags}
    lines = write(tmp_path / "a.jsonl", json.dumps(record) + "\n")
    assert read(lines) == [SENTENCE]
    conllu = "# text = du vin\n1-2\tdu\t_\t_\t_\n1\tde\tde\tADP\tX\n1.1\t_\t_\t_\t_\n2\tvin\tvin\tNOUN\tY\n\n"
    for name, content in (("a.conllu", conllu.encode()), ("b.conllu.gz", gzip.compress(conllu.encode()))):
        (tmp_path / name).write_bytes(content)
        found = read(tmp_path / name)
        assert found == [Sentence(("de", "vin"), ("ADP", "NOUN"))]
    assert read(tmp_path / "a.conllu", tag_column=5)[0].tags == ("X", "Y")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "one\n", "1 column"),
        ("b.txt", "one B-X\ntwo\n", "line 2 has 1 column"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["\\ud800"]}\n', "lone surrogate"),
        ("a.txt", "one B-X\ntwo\n", "tag 'two'|1 column"),
        ("a.txt", "\n\n", "no sentence"),
        ("b.txt", "one N B-X\ntwo N\n", "line 2 has 2 column.*line 1 has 3"),
        ("b.txt", "New York N B-X\ntwo N O\n", "line 2 has 3 column.*line 1 has 4"),
        ("b.conllu", "1\ta\ta\tX\n2\tb\tb\n", "line 2 has 3 column"),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": ["O"]}\n', "no field 'tags'.*'ner_tags'"),
        ("a.jsonl", '{"tokens": ["a"], "tags": []}\n', "1 tokens, but 0 tags"),
        ("a.jsonl", '{"tokens": "a", "tags": ["b"]}\n', "no list of strings"),
        ("a.jsonl", '{"tokens": [" "], "tags": ["b"]}\n', "the token ''"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["b c"]}\n', "the tag 'b c'"),
        ("a.jsonl", '{"tokens": [], "tags": []}\n', "has 0 tokens"),
        ("a.txt", "x " + "y" * 300 + "\n", "the tag"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, content, message):
    how = TagReading(token_column=1, tag_column=2) if name == "a.txt" else TagReading()
    with pytest.raises(TidegateError, match=message):
        read_tagged([write(tmp_path / name, content)], how)


def test_a_wide_space_is_a_token_where_tabs_stand_between_columns(tmp_path):
    # what normalises to nothing is none
    with pytest.raises(TidegateError, match="the token ''"):
        read(write(tmp_path / "a.txt", "\u3000\tO\n"))
    assert read(write(tmp_path / "a.txt", "a\u3000b O\n"))[0].tokens == ("a\u3000b",)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("between", ["", " ", "\t", "\f", "-DOCSTART- -X-", "-DOCSTART-\tO"])
@pytest.mark.parametrize("space", [" ", "\t", "   "])
def test_what_stands_between_two_sentences(tmp_path, end, between, space):
    lines = [f"Anna{space}B-PER", f"runs{space}O", between, f"#{space}O", f"1{space}O "]
    path = tmp_path / "a.conll"
    path.write_bytes(("\ufeff" + end.join(lines)).encode())
    assert read(path) == [Sentence(("Anna", "runs"), ("B-PER", "O")), Sentence(("#", "1"), ("O", "O"))]


def test_comments_are_lines_with_other_columns_than_the_tokens(tmp_path):
    """As WNUT and MultiCoNER have them; a token # has as many as the others."""
    text = "# id 5239\tdomain=en\nthe _ _ O\n# _ _ O\n\n# id 1\tdomain=en\n1 _ _ B-X\n"
    assert read(write(tmp_path / "a.conll", text)) == [Sentence(("the", "#"), ("O", "O")), Sentence(("1",), ("B-X",))]
    assert read(write(tmp_path / "b.conll", "# O\n")) == [Sentence(("#",), ("O",))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.conll", "a O\nb O\n" + "x" * 1001 + " O\nc O\n\n", r"a\.conll, line 3 has the token"),
        ("a.conll", "a O\nb " + "y" * 101 + "\nc O\n\n", r"a\.conll, line 2 has the tag"),
        ("a.conll", "a O\n\nb O c\nd O\n", r"a\.conll, line 3 has 3 column\(s\), but line 1 has 2"),
        ("a.conll", "# a comment\na O\nb\n", r"a\.conll, line 3 has 1 column\(s\), but line 2 has 2"),
        (
            "a.jsonl",
            '{"tokens": ["a", "b", ""], "tags": ["O", "O", "O"]}\n',
            r"a\.jsonl, line 1, token 3, has the token",
        ),
        ("a.csv", "token,tag\na,O\nb,\n", r"a\.csv, line 3 has the tag ''"),
        ("a.csv", "token,tag\na,O\n ,O\n", r"a\.csv, line 3 has the token ''"),
        ("a.html", "<p>a", "is HTML, which has no tags"),
    ],
)
def test_the_line_of_the_token_itself_is_named(tmp_path, name, content, message):
    with pytest.raises(TidegateError, match=message):
        read(write(tmp_path / name, content))


def test_a_sentence_that_is_too_long_is_named_at_its_first_token_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(tagged, "MOST_TOKENS", 3)
    with pytest.raises(TidegateError, match=r"a\.conll, line 6: the sentence has more than 3 tokens"):
        read(write(tmp_path / "a.conll", "a O\n\n" + "b O\n" * 5))


KAGGLE = (
    "Sentence #,Word,POS,Tag\nSentence: 1,Thousands,NNS,O\n,of,IN,O\n,London,NNP,B-geo\n"
    'Sentence: 2,"""",``,O\n,"1,000",CD,O\n,caf\xe9,NN,B-org\n'
)
TWO = [
    Sentence(("Thousands", "of", "London"), ("O", "O", "B-geo")),
    Sentence(('"', "1,000", "café"), ("O", "O", "B-org")),
]


def test_a_table_with_the_id_on_the_first_row_of_a_sentence(tmp_path):
    path = tmp_path / "ner_dataset.csv"
    path.write_bytes(KAGGLE.encode("latin-1"))
    assert read(path, encoding="latin-1") == TWO
    assert read(path, encoding="latin-1", token_column="Word", tag_column="POS")[0].tags == ("NNS", "IN", "NNP")
    assert read(path, encoding="latin-1", token_column=2, tag_column=-1, sentence_column="Sentence #") == TWO
    with pytest.raises(TidegateError, match=r"no column for the tag, 'Tags' \(did you mean 'Tag'\?\).*--tag-column"):
        read(path, encoding="latin-1", tag_column="Tags")
    with pytest.raises(TidegateError, match=r"--encoding (cp1252|latin-1)"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        "sentence_id,token,tag\n1,a,O\n1,b,O\n2,c,B-X\n",
        "TAG,Token,SENT_ID\nO,a,1\nO,b,1\nB-X,c,2\n",
        "token,tag\na,O\nb,O\n,\nc,B-X\n",
        "token,tag\na,O\nb,O\n\nc,B-X\n",
        "word;label\na;O\nb;O\n\nc;B-X\n",
    ],
)
def test_a_table_with_ids_on_all_rows_or_empty_rows_between_sentences(tmp_path, text):
    expected = [Sentence(("a", "b"), ("O", "O")), Sentence(("c",), ("B-X",))]
    assert read(write(tmp_path / "a.csv", text)) == expected
    delimiter = ";" if ";" in text else ","
    assert read(write(tmp_path / "a.tsv", text.replace(delimiter, "\t"))) == expected


def test_a_table_without_known_names_asks_for_them(tmp_path):
    path = write(tmp_path / "a.csv", "w,t\na,O\n")
    with pytest.raises(
        TidegateError, match=r"no column for the token; its columns: 'w', 't'\. Name it by --token-column"
    ):
        read(path)
    assert read(path, token_column="w", tag_column="t") == [Sentence(("a",), ("O",))]
    with pytest.raises(TidegateError, match="one column is looked for as two"):
        read(path, token_column="w", tag_column="w")
    with pytest.raises(TidegateError, match="columns without names"):
        read(write(tmp_path / "a.conll", "a O\n"), tag_column="tag")


def test_a_tsv_without_names_is_columns_as_ever(tmp_path):
    assert read(write(tmp_path / "a.tsv", "# a remark\na\tO\n\nb\tB-X\n")) == [
        Sentence(("a",), ("O",)),
        Sentence(("b",), ("B-X",)),
    ]


def test_fields_of_json_may_have_other_names(tmp_path):
    record = {"words": ["a"], "ner": ["O"]}
    for name, content in (("a.jsonl", json.dumps(record) + "\n"), ("a.json", json.dumps({"data": [record]}))):
        path = write(tmp_path / name, content)
        assert read(path, token_column="words", tag_column="ner") == [Sentence(("a",), ("O",))]
