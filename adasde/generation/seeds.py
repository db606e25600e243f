"""Seeds and other numbers as the command line writes them."""

from __future__ import annotations

import re

from adasde.errors import ParamsError

HIGHEST = 2**64


def parse_seeds(text: str) -> list[int]:
    """``"0-3,7"`` -> [0, 1, 2, 3, 7]: numbers and ranges with both ends, each seed once, in order.

    Raises:
        ParamsError: any other text, a range that ends before it begins, or a seed of 2^64 or more.
    """
    return numbers(text, "seeds", below=HIGHEST, example="0-49999 or 1,2,5-10")


def numbers(text: str, what: str, *, below: int, example: str) -> list[int]:
    """Numbers and ranges ``below`` a limit, written as in ``parse_seeds`` (ParamsError)."""
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
