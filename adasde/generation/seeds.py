"""Which seeds are wanted, and which of them are this process's."""

from __future__ import annotations

import re

from adasde.errors import ParamsError

HIGHEST = 2**64


def parse_seeds(text: str) -> list[int]:
    """``"0-3,7"`` -> [0, 1, 2, 3, 7]: numbers and ranges, both ends included, each seed once, in order.

    Raises:
        ParamsError: something else, a range that ends before it begins, or a seed of 2^64 or more.
    """
    return numbers(text, "seeds", below=HIGHEST, example="0-49999 or 1,2,5-10")


def numbers(text: str, what: str, *, below: int, example: str) -> list[int]:
    """Numbers and ranges, as ``parse_seeds`` takes them, of less than ``below`` (ParamsError)."""
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if last < first or last >= below:
            raise ParamsError(
                f"{part.strip()!r} in the {what} {text!r} is neither a number nor a range first-last. "
                f"Write for instance {example}."
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)
