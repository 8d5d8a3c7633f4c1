"""What an encoder reads of captions; what it leaves out is told, and refused where that makes two captions one."""

import sys
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from os.path import commonprefix
from typing import NamedTuple

from textbloom.core.errors import UserError

_NAMED = 20  # unknown pieces, the most frequent ones
_WIDTH = 60  # letters of a caption in a message


class Reading(NamedTuple):
    """What an encoder reads of one caption.

    tokens: captions of equal ones get one vector.
    cut: the end of the caption, beyond the encoder's limit.
    unknown: what in the caption has no token of its own, or only that of the letter without its accent.
    blank: whether nothing of it is known.
    """

    tokens: Hashable
    cut: str = ""
    unknown: tuple[str, ...] = ()
    blank: bool = False


def tell(readings: Mapping[str, Reading], limit: str) -> None:
    """Say on stderr how many of the captions are cut at the limit, "256 tokens", and what in them is unknown."""
    cut = [reading.cut for reading in readings.values() if reading.cut]
    if cut:
        after = f"are cut after the {limit} that the encoder reads; the first loses {_short(cut[0])}"
        print(f"captions: {len(cut)} of {len(readings)} {after}", file=sys.stderr)
    unknown = Counter(piece for reading in readings.values() for piece in dict.fromkeys(reading.unknown))
    if unknown:
        count = sum(bool(reading.unknown) for reading in readings.values())
        named = " ".join(piece[:_WIDTH] for piece, _ in unknown.most_common(_NAMED))
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        holding = f"hold what the encoder does not know: {named}{more}"
        print(f"captions: {count} of {len(readings)} {holding}", file=sys.stderr)


def refuse_unknown(captions: Sequence[str], readings: Mapping[str, Reading]) -> None:
    """Raise UserError for a caption of which nothing is known."""
    for caption, reading in readings.items():
        if reading.blank:
            raise UserError(
                f"{_named(captions, caption)} has nothing that the encoder knows: write it in words of its language, "
                "or choose an encoder of that language (encoder.name)"
            )


def refuse_alike(captions: Sequence[str], readings: Mapping[str, Reading]) -> None:
    """Raise UserError for two captions that differ in what is left out alone."""
    first: dict[Hashable, str] = {}
    for caption, reading in readings.items():
        other = first.setdefault(reading.tokens, caption)
        if (reading.cut, reading.unknown) != (readings[other].cut, readings[other].unknown):
            skipped = [each.cut or " ".join(each.unknown) for each in (reading, readings[other])]
            same = len(commonprefix(skipped))  # noqa: RUF071 (letters are meant)
            of_it, of_other = (_short(text[same:]) for text in skipped)
            mend = "shorten them" if reading.cut or readings[other].cut else "write them in words that it knows"
            raise UserError(
                f"{_named(captions, caption)} would get the vector of {_named(captions, other)}, for the encoder skips "
                f"{of_it} of it and {of_other} of the other: {mend}, or choose another encoder (encoder.name)"
            )


def _named(captions: Sequence[str], caption: str) -> str:
    return f"caption {captions.index(caption) + 1}, {_short(caption)}"


def _short(text: str) -> str:
    if not text:
        return "nothing"
    return repr(text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…")
