"""The text of a caption file: one caption a line."""

import re
import unicodedata

from textbloom.core.errors import UserError

# str.splitlines would also split at separators that occur inside a line, such as U+2028.
_LINE_END = re.compile(r"\r\n?|\n")


def parse(data: bytes, name: str) -> tuple[str, ...]:
    """The captions of one file, in order; blank lines are skipped. Raises UserError, naming file and line."""
    captions = tuple(caption for line in lines(data, name) if (caption := normalise(line)))
    if not captions:
        raise UserError(f"{name}: holds no caption, only blank lines: give it at least one line of text")
    return captions


def lines(data: bytes, name: str) -> list[str]:
    """The lines of a UTF-8 file, byte order mark or not. Raises UserError naming the line that is not UTF-8."""
    try:
        return _LINE_END.split(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(data[: error.start].decode("utf-8", "replace"))) + 1
        byte = data[error.start]
        raise UserError(f"{name}: line {line}: byte 0x{byte:02x} is not UTF-8: save the file as UTF-8") from None


def normalise(line: str) -> str:
    """One caption as one plain line: composed (NFC), single spaces, no control or invisible formatting characters.

    Letters, case and punctuation stay as written: the sentence encoder's own tokenizer decides about them.
    """
    composed = " ".join(unicodedata.normalize("NFC", line).split())
    visible = "".join(char for char in composed if unicodedata.category(char) not in ("Cc", "Cf"))
    return " ".join(visible.split())
