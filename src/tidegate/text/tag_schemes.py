"""How entity tags are spelled, recognized from all tags of files; respelled as B-kind, I-kind, E-kind, S-kind and O.

A tag has a letter for the place in the entity, a mark and a kind: B-PER, B_PER, PER-B, b-per; or the letter alone,
where there is one kind. The letters are those of a scheme:

    BIO (IOB2)      B begins an entity, I goes on          IOB1    I; B only where an entity follows one of its kind
    BIOES (IOBES)   E ends it, S is an entity of one       IOE     I; E ends it
    BMES, BMEWO     M is I, W is S                         BILOU   L is E, U is S

What is read as a scheme is decided by the whole set of tags, not by one of them: parts of speech have tags such as B, X
or S_NP too, but never all of them are such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.errors import TidegateError
from tidegate.text.entities import ENTITY, to_bio, to_bioes
from tidegate.text.tagged import Sentence, TaggedFile

SPAN = "SPAN"
"""the kind of entities whose tags have none"""
MEANS = {"B": "B", "I": "I", "E": "E", "S": "S", "M": "I", "L": "E", "U": "S", "W": "S"}
FAMILIES = ("BI", "IE", "BIES", "BMES", "BMEW", "BILU")
"""the letters that come together; a file may lack some"""
OUTSIDE = ("O", "0", "OUT", "OUTSIDE", "OTHER", "NONE", "NIL", "NULL", "_", "-")
"""how O may be spelled: any other single tag among those of entities is taken for a slip, not for outside"""
MARKS = "-_:./|"


@dataclass(frozen=True)
class Spelling:
    """How the tags of a file are written."""

    mark: str
    """between letter and kind; empty: there is no kind"""
    letter_first: bool = True
    lower: bool = False
    """whether the letters are lower case"""

    def parsed(self, tag: str) -> tuple[str, str] | None:
        """Return the letter, in upper case, and the kind of a tag; None where it is not written so."""
        if not self.mark:
            letter, kind = tag, SPAN
        elif self.letter_first:
            letter, mark, kind = tag[:1], tag[1:2], tag[2:]
        else:
            letter, mark, kind = tag[-1:], tag[-2:-1], tag[:-2]
        if self.mark and (mark != self.mark or not kind):
            return None
        letter = letter.upper() if letter.islower() == self.lower else ""
        return (letter, kind) if len(letter) == 1 and letter in MEANS else None

    @property
    def is_usual(self) -> bool:
        """Whether it is B-kind."""
        return self == Spelling("-")

    def __str__(self) -> str:
        shown = f"B{self.mark}kind" if self.letter_first and self.mark else f"kind{self.mark}B" if self.mark else "B"
        return shown.replace("B", "b") if self.lower else shown


SPELLINGS = [
    *(Spelling(mark, first, lower) for first in (True, False) for mark in MARKS for lower in (False, True)),
    *(Spelling("", lower=lower) for lower in (False, True)),
]
"""in the order in which they are tried"""


@dataclass(frozen=True)
class Scheme:
    """The tags of entities in one file, and what each is respelled as."""

    name: str
    spelling: Spelling
    respelled: Mapping[str, str]
    """of the file's tags; all others are slips"""

    @property
    def differences(self) -> str:
        """What differs from BIO and BIOES as they are usually spelled, in words; empty where nothing does."""
        said = []
        letters = {self.spelling.parsed(tag) for tag in self.respelled}
        for letter in sorted({parsed[0] for parsed in letters if parsed and MEANS[parsed[0]] != parsed[0]}):
            said.append(f"{letter} is {MEANS[letter]}")
        if not self.spelling.is_usual:
            kind = "" if self.spelling.mark else f", their kind is {SPAN}"
            said.append(f"tags are spelled as {self.spelling}{kind}")
        said += [f"{tag} is O" for tag, usual in self.respelled.items() if usual == "O" != tag]
        return ", ".join(said)


def recognized(tags: Iterable[str]) -> Scheme | None:
    """Return the scheme of a file's different tags, None where they are not those of entities, or all are O."""
    different = sorted(set(tags))
    best: tuple[int, Spelling] | None = None
    for spelling in SPELLINGS:
        parsed = [one for tag in different if (one := spelling.parsed(tag))]
        others = [tag for tag in different if not spelling.parsed(tag)]
        outside = [tag for tag in others if tag.upper() in OUTSIDE]
        slips = len(others) - len(outside)
        if _is_evidence(spelling, parsed, bool(outside), slips) and (best is None or slips < best[0]):
            best = slips, spelling
    if best is None:
        return None
    spelling = best[1]
    letters = {tag: one for tag in different if (one := spelling.parsed(tag))}
    respelled = {tag: f"{MEANS[letter]}-{kind}" for tag, (letter, kind) in letters.items()}
    respelled |= {tag: "O" for tag in different if tag not in letters and tag.upper() in OUTSIDE}
    return Scheme(_name({letter for letter, _ in letters.values()}), spelling, respelled)


def _is_evidence(spelling: Spelling, parsed: Sequence[tuple[str, str]], outside: bool, slips: int) -> bool:
    """Whether tags of which some are parsed so are those of entities."""
    letters = {letter for letter, _ in parsed}
    if not parsed or 2 * slips > len(parsed) + slips:
        return False
    if spelling.is_usual:  # letters of several schemes may meet in one file
        return True
    if not any(letters <= set(family) for family in FAMILIES) or not letters & {"B", "I"}:
        return False
    if not spelling.mark:  # single letters: of parts of speech there are others besides
        return not slips and (letters | ({"O"} if outside else set())) in _WHOLE
    kinds = {kind for _, kind in parsed}
    several = sum(len({letter for letter, kind in parsed if kind == one}) > 1 for one in kinds)
    return outside or 2 * several >= len(kinds)


_WHOLE = [
    *(set(letters) | {"O"} for letters in ("BI", "I", "IE", "BIE", "BIES", "BME", "BMES", "BMEW", "BIL", "BILU")),
    *({*letters} for letters in ("BMES", "BIES", "BMEW", "BILU", "BME", "BIE")),
]
"""the letters of which each is a whole tag: together they are a scheme, such as BMES of words"""


def _name(letters: set[str]) -> str:
    if letters <= {"B", "I"}:
        return "BIO"
    if letters <= {"I", "E"}:
        return "IOE"
    if letters & {"L", "U"}:
        return "BILOU"
    if "W" in letters:
        return "BMEWO"
    return "BMES" if "M" in letters else "BIOES"


# ---- Files -----------------------------------------------------------------------------------------------------------


def respell(files: Sequence[TaggedFile]) -> list[str]:
    """Respell the tags of files where they are those of entities, each file's from its own scheme.

    Returns what differs from BIO and BIOES, in sentences. A TidegateError names the first tag that is none where most
    are: one slip would have all of them learnt each for itself.
    """
    told: dict[str, str] = {}
    for file, scheme in zip(files, _agreed(files), strict=True):
        if scheme is None:
            continue
        sentences = [tuple(scheme.respelled[tag] for tag in sentence.tags) for sentence in file.sentences]
        name, differences = scheme.name, scheme.differences
        if begins := _begins_by_i(sentences):
            name, differences = begins, ", ".join(filter(None, ("I begins an entity", differences)))
            sentences = [to_bio(tags) for tags in sentences]
        elif scheme.name == "IOE":
            differences = ", ".join(filter(None, ("I begins an entity, E ends it", differences)))
            sentences = [to_bioes(tags) for tags in sentences]
        pairs = zip(file.sentences, sentences, strict=True)
        file.sentences = [sentence._replace(tags=tags) for sentence, tags in pairs]
        told[file.name] = f"{name}, read as BIOES: {differences}" if differences else ""
    if len(set(told.values())) == 1:
        return [f"Tags: {said}." for said in set(told.values()) if said]
    return [f"Tags of {name}: {said}." for name, said in told.items() if said]


def _agreed(files: Sequence[TaggedFile]) -> list[Scheme | None]:
    """Return the scheme of each file: one for all, or, where none fits all, each its own."""
    places = {tag: place for file in reversed(files) for tag, place in file.places.items()}
    whole = recognized(places)
    if whole is None:
        return [None] * len(files)
    slips = [tag for tag in places if tag not in whole.respelled]
    if not slips:
        return [whole] * len(files)
    each = [recognized(file.places) or _all_outside(file.places) for file in files]
    if all(
        scheme is not None and scheme.respelled.keys() >= set(file.places)
        for scheme, file in zip(each, files, strict=True)
    ):
        return each
    first = next(tag for file in files for tag in file.places if tag in slips)
    raise TidegateError(
        f"{places[first]}: most tags are those of entities, spelled as {whole.spelling}, or O, but there is also the "
        f"tag {first!r}: mend it, or name the right --tag-column."
    )


def _all_outside(tags: Iterable[str]) -> Scheme | None:
    """Return the scheme of a file that has no entities."""
    if any(tag.upper() not in OUTSIDE for tag in tags):
        return None
    return Scheme("BIO", Spelling("-"), dict.fromkeys(tags, "O"))


def _begins_by_i(sentences: Iterable[Sequence[str]]) -> str:
    """Return IOB1 or IO where entities begin by I, and by B only right after another of their kind; else nothing. Read
    as BIO, all of them would have to be repaired."""
    found, letters = False, set()
    for tags in sentences:
        for before, tag in zip(["O", *tags], tags, strict=False):
            letters.add(tag[:2])
            if not letters <= {"B-", "I-", "O"} or (tag[:2] == "B-" and before[2:] != tag[2:]):
                return ""
            found = found or (tag[:2] == "I-" and before[2:] != tag[2:])
    return ("IOB1" if "B-" in letters else "IO") if found else ""


def same_kinds(known: Sequence[Sentence], others: Sequence[Sentence]) -> tuple[list[Sentence], list[str]]:
    """Return other sentences with the kinds of the known ones where they differ from one of these in the case of
    letters alone, and a sentence for each."""
    kinds, new = ({tag[2:] for one in some for tag in one.tags if ENTITY.fullmatch(tag)} for some in (known, others))
    by_case: dict[str, list[str]] = {}
    for kind in sorted(kinds):
        by_case.setdefault(kind.casefold(), []).append(kind)
    matches = {kind: by_case.get(kind.casefold(), []) for kind in sorted(new - kinds)}
    renamed = {kind: found[0] for kind, found in matches.items() if len(found) == 1}
    if not renamed:
        return list(others), []
    respelled = [
        one._replace(tags=tuple(tag[:2] + renamed.get(tag[2:], tag[2:]) if tag != "O" else tag for tag in one.tags))
        for one in others
    ]
    return respelled, [f"The kind {kind} is read as {known_as}." for kind, known_as in renamed.items()]
