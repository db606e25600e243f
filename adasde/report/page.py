"""The report as one HTML file that needs nothing else: styles and pictures are inside."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from adasde.config.params import STUDENT
from adasde.report.results import Results
from adasde.report.table import cell_text, floor_text, html_table

STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #5b6673; --line: #dfe4ea; --accent: #d1495b; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 2.5rem 1.5rem 4rem; color: var(--ink);
       background: #fff;
       font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; } h2 { margin: 2.8rem 0 .6rem; font-size: 1.25rem; }
p { max-width: 72ch; } .lead, figcaption, .small { color: var(--soft); } .small { font-size: .85rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.4rem 0; }
.tile { border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1.1rem; min-width: 9.5rem; }
.tile b { display: block; font-size: 1.35rem; color: var(--accent); font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .9rem; border-bottom: 1px solid var(--line); text-align: right;
         white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; } thead th { color: var(--soft); font-weight: 600; }
.student th, .student td { background: #fbeef0; } .student th:first-child { font-weight: 700; }
.best { font-weight: 700; color: var(--accent); }
figure { margin: 1rem 0 0; } img { max-width: 100%; height: auto; display: block; }
pre { background: #f5f7f9; border-radius: 8px; padding: .9rem 1.1rem; overflow-x: auto; font-size: .87rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; font-size: .87rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
"""

USE = """import adasde
from adasde.models import load_model

model = load_model("{model}")
coefficients = adasde.Coefficients.load("data/distill/nfe{nfe}/coefficients.json")
seeds = range(16)
latents = adasde.latents(seeds, model.shape)
images = adasde.sample(model.bind(seeds), latents, coefficients, adasde.SeededNoise(seeds))"""


def page(results: Results, pictures: Sequence[tuple[str, str, Path]]) -> str:
    """The HTML text; ``pictures``: (heading, caption, PNG file), in order."""
    figures = "\n".join(figure_html(*picture) for picture in pictures)
    name = html.escape(results.model)
    use = html.escape(USE.format(model=results.model, nfe=results.nfe[len(results.nfe) // 2]))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>AdaSDE on {name}</title><style>{STYLE}</style></head><body>
<h1>AdaSDE on {name}</h1>
<p class="lead">Few-step sampling of a frozen diffusion model with a handful of learned numbers per step,
beside the classical solvers at the same number of network evaluations (NFE).</p>
<div class="tiles">{_tiles(results)}</div>
<h2>FID, lower is better</h2>
<div class="scroll">{html_table(results)}</div>
<p class="small">Mean ± standard deviation over disjoint seed ranges; the best of every column in bold.
The model itself: {floor_text(results)}. "+ AFS": the first direction is analytic and costs no evaluation.
A dash: this solver cannot spend exactly that many evaluations.</p>
{figures}
<h2>Use the coefficients</h2>
<pre>{use}</pre>
<h2>How it was measured</h2>
<dl>{_protocol(results)}</dl>
</body></html>
"""


def _tiles(results: Results) -> str:
    tiles = [
        f'<div class="tile">AdaSDE, {nfe} NFE<b>{cell_text(results.rows[STUDENT][nfe])}</b></div>'
        for nfe in results.nfe
        if nfe in results.rows.get(STUDENT, {})
    ]
    floor = f'<div class="tile">Heun, {results.teacher["nfe"]} NFE<b>{cell_text(results.teacher)}</b></div>'
    return "".join([*tiles, floor])


def figure_html(heading: str, caption: str, path: Path) -> str:
    """A heading, its caption, and the PNG file ``path`` inlined."""
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(heading)
    return (
        f"<h2>{text}</h2><figure><figcaption>{html.escape(caption)}</figcaption>"
        f'<img alt="{text}" src="data:image/png;base64,{data}"></figure>'
    )


def _protocol(results: Results) -> str:
    entries = {**results.protocol, "protocol hash": results.protocol_hash}
    return "".join(
        f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in entries.items()
    )
