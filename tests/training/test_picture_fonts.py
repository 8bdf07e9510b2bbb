"""A label's characters come from some font of the machine, or the label from a key."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.font_manager import fontManager

from tidegate.training import picture_fonts
from tidegate.training.confusion import Confusion
from tidegate.training.picture_fonts import families, is_drawable

HAN = "好评"


@pytest.fixture
def only_latin(monkeypatch):
    """A machine with the fonts of matplotlib alone."""
    bundled = [font for font in fontManager.ttflist if "matplotlib" in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", bundled)
    picture_fonts._with_most.cache_clear()
    yield
    picture_fonts._with_most.cache_clear()


def test_one_font_is_enough_where_it_has_all(only_latin):
    assert families(["shakespeare-2 é×", "Тест"]) == ["DejaVu Sans"]
    assert is_drawable("shakespeare-2 é×", ["DejaVu Sans"])
    assert not is_drawable("a\U0010ffff", ["DejaVu Sans"])


def test_a_font_that_has_the_characters_is_found_by_what_is_in_it(monkeypatch):
    """Whatever its name is: the one that has the most of them."""
    installed = {"No Such Font": "", "Some Mincho": "好", "Some Hei": HAN, "Last Resort": HAN, "Noto Color Emoji": HAN}
    monkeypatch.setattr(picture_fonts, "_has", lambda name, character: character in installed.get(name, "abc"))
    monkeypatch.setattr(picture_fonts, "_candidates", lambda: iter(list(installed)[:3]))
    picture_fonts._with_most.cache_clear()
    assert families(["abc"]) == ["DejaVu Sans"]
    assert families(["abc", HAN]) == ["DejaVu Sans", "Some Hei"]
    assert families(["abc", "好"]) == ["DejaVu Sans", "Some Mincho"]
    assert families(["坏"]) == ["DejaVu Sans"]
    picture_fonts._with_most.cache_clear()


def test_no_font_of_boxes_or_pictures_is_taken():
    names = list(picture_fonts._candidates())
    assert names
    assert not [name for name in names if "Last Resort" in name or "Emoji" in name]


def confusion(*names):
    K = len(names)
    return Confusion(names, range(1, K + 1), np.eye(K, dtype=np.int64), np.ones(K, np.int64))


def test_labels_without_a_font_stand_in_a_key(only_latin, tmp_path):
    """Warnings are errors here, so a character that no font has would be one."""
    shown = confusion("fine", HAN, "é", "差|评", "$a$ $b")
    assert shown.key() == r"confusion.png shows these labels by their numbers: 2 好评, 4 差\|评."
    shown.draw(tmp_path / "a.png")
    assert confusion("fine", "é").key() == ""


def test_the_report_has_the_key(only_latin, tmp_path):
    from tidegate.text.labelled import LabelledTexts
    from tidegate.training.label_report import Judged, write_report

    texts = LabelledTexts(["a", "b"], [("好",), ("bad",)])
    judged = {"validation": Judged(texts, np.array([0, 1]), np.eye(2))}
    write_report(tmp_path, ["好", "bad"], judged, {"validation": []}, {})
    assert "confusion.png shows these labels by their numbers: 1 好." in (tmp_path / "report.md").read_text("utf-8")
