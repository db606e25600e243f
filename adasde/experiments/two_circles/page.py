"""The analysis as one HTML file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from adasde.experiments.two_circles.pictures import TITLES
from adasde.experiments.two_circles.results import METHOD, Analysis
from adasde.experiments.two_circles.verdicts import Verdict
from adasde.report.page import STYLE, figure_html


def page(found: Analysis, pictures: Sequence[tuple[str, str, Path]]) -> str:
    """The HTML text; ``pictures``: (heading, caption, PNG file), in order."""
    figures = "\n".join(figure_html(*picture) for picture in pictures)
    settings = asdict(found.measured.settings)
    settings |= settings.pop("circles")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ODE or SDE: where the error comes from</title><style>{STYLE}</style></head><body>
<h1>ODE or SDE: where the error comes from</h1>
<p class="lead">Two noisy circles whose exact denoiser is known: total = network against data,
gradient = network against exact denoiser, discretisation = exact denoiser against data, over the number of
steps of Heun's method, with noise γ injected before the steps (arXiv 2510.23285).</p>
<h2>Which statements hold</h2>
<div class="scroll">{_verdicts(found.verdicts)}</div>
<p class="small">A statement holds at a number of steps N if simultaneous 95 % intervals of the paired
differences to γ = 0 say so. W1 in the plane is the distance itself, on few points, and cannot see what lies
under its floor. W1 of the radius takes all points and has next to no floor; it is blind to errors of the
angle.</p>
{figures}
<h2>The deciding differences</h2>
<div class="scroll">{_findings(found.verdicts)}</div>
<h2>How it was measured</h2>
<dl>{_entries(METHOD)}{_entries(settings)}</dl>
</body></html>
"""


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    by: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        by.setdefault(verdict.statement, {})[verdict.measure] = verdict.summary
    head = "".join(f"<th>{title}</th>" for title in TITLES.values())
    rows = "".join(
        f"<tr><th>{html.escape(statement)}</th>{''.join(f'<td>{row[m]}</td>' for m in TITLES)}</tr>"
        for statement, row in by.items()
    )
    return f"<table><thead><tr><th>Statement</th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _findings(verdicts: Sequence[Verdict]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(v.statement)}</th><td>{v.measure}</td><td>{f.steps}</td><td>{f.gamma:g}</td>"
        f"<td>{f.difference.mean:+.5f}</td><td>{f.difference.low:+.5f} … {f.difference.high:+.5f}</td>"
        f"<td>{f.outcome}</td></tr>"
        for v in verdicts
        for f in v.findings
    )
    head = "".join(f"<th>{name}</th>" for name in ("W1 of", "N", "γ", "difference", "interval", ""))
    return f"<table><thead><tr><th>Statement</th>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _entries(values: Mapping[str, object]) -> str:
    return "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in values.items())
