"""One page of headings, tables and pictures that needs no other file: styles and pictures are inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adasde.report.table import Table, render

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

PAGE = """
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>{{ style | safe }}</style></head><body>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
{% if tiles %}
<div class="tiles">
{%- for name, text in tiles.items() %}<div class="tile">{{ name }}<b>{{ text }}</b></div>{% endfor %}</div>
{% endif %}
{% for section in sections %}
<h2>{{ section.heading }}</h2>
{% if section.table %}
{{ section.table.html() }}
{% endif %}
{% if section.picture %}
<figure><figcaption>{{ section.note }}</figcaption>
<img alt="{{ section.heading }}" src="{{ data_uri(section.picture) }}"></figure>
{% elif section.note %}
<p class="small">{{ section.note }}</p>
{% endif %}
{% if section.code %}
<pre>{{ section.code }}</pre>
{% endif %}
{% if section.facts %}
<dl>{% for name, value in section.facts.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
{% endif %}
{% endfor %}
</body></html>
"""


@dataclass(frozen=True)
class PageSection:
    """A heading, and below it what there is of: table, ``note`` (a picture's caption), code, facts."""

    heading: str
    table: Table | None = None
    note: str = ""
    picture: Path | None = None
    code: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


def page(
    title: str, lead: str, sections: Sequence[PageSection], *, tiles: Mapping[str, str] | None = None
) -> str:
    """The HTML text of a page; ``tiles``: numbers shown large at the top, by name. Pictures are PNG files."""
    values = {"title": title, "lead": lead, "sections": sections, "tiles": tiles}
    return render(PAGE, **values, style=STYLE, data_uri=data_uri) + "\n"


def data_uri(picture: Path) -> str:
    """A PNG file as an address that holds its bytes."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
