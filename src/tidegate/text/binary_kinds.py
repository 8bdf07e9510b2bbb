"""Files that are no text, recognized by their first bytes, with what to do about each."""

from __future__ import annotations

import re
from typing import NamedTuple

UNPACK = "unpack it, and name the files in it"
EXPORT = "export it as .csv or .jsonl"
OFFICE = "save it as plain text (.txt) first"
OMIT = "omit this file"
"""what to do"""


class Binary(NamedTuple):
    """A kind of file that is no text."""

    what: str
    """with its article"""
    remedy: str


_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"%PDF-", "a PDF document", "convert it to text first, for instance by pdftotext"),
    (0, b"%!PS", "a PostScript document", "convert it to text first, for instance by ps2ascii"),
    (0, b"{\\rtf", "an RTF document, text with a word processor's markup", OFFICE),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.doc, .xls, .ppt)", OFFICE),
    (0, b"AT&TFORM", "a DjVu document", "convert it to text first, for instance by djvutxt"),
    (60, b"BOOKMOBI", "a Mobipocket book", "convert it to text first, for instance by Calibre"),
    (0, b"\x1f\x8b", "gzip data within compressed data", UNPACK),
    (0, b"BZh", "bzip2 data within compressed data", UNPACK),
    (0, b"\xfd7zXZ\x00", "xz data within compressed data", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd data within compressed data", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (0, b"SQLite format 3\0", "an SQLite database", EXPORT),
    (0, b"PAR1", "a Parquet table", "give it the suffix .parquet"),
    (0, b"ARROW1\0\0", "an Arrow table", "write it as .parquet, .csv or .jsonl"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", OMIT),
    (0, b"GGUF", "the weights of a model (GGUF)", OMIT),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", OMIT),
    (0, b"\xff\xd8\xff", "a JPEG image", OMIT),
    (0, b"GIF87a", "a GIF image", OMIT),
    (0, b"GIF89a", "a GIF image", OMIT),
    (0, b"II*\0", "a TIFF image", OMIT),
    (0, b"MM\0*", "a TIFF image", OMIT),
    (0, b"RIFF", "a WebP image, or sound or video in RIFF", OMIT),
    (4, b"ftyp", "sound or video (MP4)", OMIT),
    (0, b"OggS\0", "sound or video (Ogg)", OMIT),
    (0, b"fLaC\0", "sound (FLAC)", OMIT),
    (0, b"ID3", "sound (MP3)", OMIT),
    (0, b"BM", "a bitmap image", OMIT),
    (0, b"\x7fELF", "an executable (ELF)", OMIT),
    (0, b"MZ", "an executable (Windows)", OMIT),
    (0, b"\xcf\xfa\xed\xfe", "an executable (macOS)", OMIT),
    (0, b"\xca\xfe\xba\xbe", "a compiled program (Java or macOS)", OMIT),
    (0, b"\0asm", "a compiled program (WebAssembly)", OMIT),
    (0, b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the file itself", "run git lfs pull"),
)  # fmt: skip
_PRINTABLE = {b"GGUF", b"RIFF", b"ftyp", b"ID3", b"BM", b"MZ", b"PAR1", b"BZh", b"ustar", b"GIF87a", b"GIF89a"}
"""signatures that a text may begin with as well: of a binary file there is a NUL byte in what follows"""
_OFFICE = (
    (rb"word/|ppt/|xl/", "an Office document (.docx, .xlsx, .pptx)", f"{OFFICE}, or a table as .csv"),
    (rb"mimetypeapplication/epub", "an EPUB book", "convert it to text first, for instance by Calibre"),
    (rb"mimetypeapplication/vnd\.oasis", "an OpenDocument file (.odt, .ods)", f"{OFFICE}, or a table as .csv"),
    (rb"/data\.pkl|\.npy|/version\n", "arrays or weights in an archive (PyTorch or NumPy)", OMIT),
    (rb"META-INF/", "a compiled program (Java)", OMIT),
)  # fmt: skip
ZIP = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_SAFETENSORS = re.compile(rb'.{4}\0{4}\{\s*"', re.DOTALL)
"""the length of the header, eight bytes of which the last are 0, and the header"""


def binary_kind(head: bytes) -> Binary | None:
    """Return what kind of file its first kilobytes tell, None where they may be text."""
    if head.startswith(ZIP):
        named = next(((what, remedy) for sign, what, remedy in _OFFICE if re.search(sign, head)), None)
        return Binary(*named) if named else Binary("a ZIP archive", "give it the suffix .zip")
    if _PICKLE.match(head):
        return Binary("a pickle of Python", "it could run code when it is opened: export it as .csv or .jsonl")
    if _SAFETENSORS.match(head):
        return Binary("the weights of a model (safetensors)", OMIT)
    for offset, sign, what, remedy in _SIGNATURES:
        if head.startswith(sign, offset) and (sign not in _PRINTABLE or b"\0" in head):
            return Binary(what, remedy)
    return None


def is_archive(head: bytes) -> bool:
    """Whether the first kilobytes are those of a ZIP archive of files, and of no document that is stored as one."""
    return head.startswith(ZIP) and not any(re.search(sign, head) for sign, _, _ in _OFFICE)
