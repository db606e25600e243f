"""Results of checks, and how they are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, ParamSpec

from adasde.errors import AdaSDEError

Status = Literal["ok", "warning", "failed"]
COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
NAME = 10

P = ParamSpec("P")


@dataclass(frozen=True)
class CheckResult:
    """Result of one check: what was examined, its state in words, and the remedy if one is needed."""

    name: str
    status: Status
    text: str
    remedy: str = ""


def tried(
    name: str, check: Callable[P, Iterator[CheckResult]], *given: P.args, **named: P.kwargs
) -> Iterator[CheckResult]:
    """Results of ``check``; an exception it raises becomes one of them."""
    try:
        yield from check(*given, **named)
    except AdaSDEError as error:
        yield CheckResult(name, "failed", str(error))
    except Exception as error:  # one failing check must not hide the others
        yield CheckResult(name, "failed", f"cannot be examined: {type(error).__name__}: {error}")


def show(findings: Iterable[CheckResult], *, as_json: bool) -> bool:
    """Print the results as they come, or all as JSON; whether no check has failed."""
    if as_json:
        found = list(findings)
        print(json.dumps({"findings": [asdict(finding) for finding in found]}))
        return all(finding.status != "failed" for finding in found)
    from rich.console import Console
    from rich.text import Text

    console, well = Console(highlight=False), True
    for finding in findings:
        line = Text(f"{finding.status:8}", style=COLOURS[finding.status])
        line.append(f"{finding.name:{NAME}}{finding.text}", style="default")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':{8 + NAME}}→ {finding.remedy}"), soft_wrap=True)
        well = well and finding.status != "failed"
    return well
