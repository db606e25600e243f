"""A table of numbers, described once: as HTML, as Markdown and on the terminal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from markupsafe import Markup
    from rich.table import Table as RichTable

MISSING = "–"

Style = Literal["", "best", "student", "good", "bad"]
"""A class of the page's style sheet, see ``TERMINAL`` for its look on the terminal."""

TERMINAL: dict[Style, str] = {"best": "bold green", "student": "bold", "good": "green", "bad": "red"}

HTML = """
<div class="scroll"><table>
<thead><tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for group, rows in table.groups %}
{% if group %}
<tr><th class="small" colspan="{{ table.columns | length }}">{{ group }}</th></tr>
{% endif %}
{% for row in rows %}
<tr{% if row.style %} class="{{ row.style }}"{% endif %}><th>{{ row.label }}</th>
{%- for cell in row.cells %}
<td{% if cell.style %} class="{{ cell.style }}"{% endif %}>{{ cell.text }}
{%- if cell.note %}<br><span class="small">{{ cell.note }}</span>{% endif %}</td>
{%- endfor %}</tr>
{% endfor %}
{% endfor %}
</tbody></table></div>
"""


@dataclass(frozen=True)
class TableCell:
    """A number or words; ``note``: small print below, for which the terminal shows ``mark``."""

    text: str = MISSING
    note: str = ""
    mark: str = ""
    style: Style = ""


@dataclass(frozen=True)
class TableRow:
    """A label and a cell for every further column; neighbours of one ``group`` belong together."""

    label: str
    cells: Sequence[TableCell]
    group: str = ""
    style: Style = ""


def row(label: str, *cells: TableCell | str, group: str = "", style: Style = "") -> TableRow:
    """A row of cells, some of them plain text."""
    made = [TableCell(cell) if isinstance(cell, str) else cell for cell in cells]
    return TableRow(label, made, group, style)


@dataclass(frozen=True)
class Table:
    """Labelled rows under ``columns``, the first of which is that of the labels.

    Attributes:
        title, caption: above and below the table in Markdown and on the terminal.
        prose: cells hold words, which a narrow terminal wraps, and not numbers.
        unwrapped: columns of words that are never wrapped.
    """

    columns: Sequence[str]
    rows: Sequence[TableRow]
    title: str = ""
    caption: str = ""
    prose: bool = False
    unwrapped: Collection[str] = ()

    @property
    def groups(self) -> list[tuple[str, list[TableRow]]]:
        """Neighbouring rows of the same group."""
        return [(name, list(rows)) for name, rows in groupby(self.rows, key=lambda row: row.group)]

    def html(self) -> Markup:
        """The table as HTML, without title and caption."""
        return render(HTML, table=self)

    def markdown(self) -> str:
        """The table as GitHub's Markdown, the best cells in bold."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        body = [[row.label, *map(_markdown, row.cells)] for row in self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in (self.columns, rule, *body))
        return "\n\n".join(part for part in (self.title, table, self.caption) if part)

    def rich(self) -> RichTable:
        """The table for the terminal, numbers without spaces around ±."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1),
            title=self.title or None, caption=self.caption or None,
            title_justify="left", caption_justify="left",
        )  # fmt: skip
        for i, name in enumerate(self.columns):
            numbers = i > 0 and not self.prose
            justify: Literal["left", "right"] = "right" if numbers else "left"
            no_wrap = numbers or name in self.unwrapped
            table.add_column(name, justify=justify, no_wrap=no_wrap, overflow="fold")
        for _, rows in self.groups:
            for row in rows:
                texts = [Text(self._short(cell), TERMINAL.get(cell.style, "")) for cell in row.cells]
                table.add_row(Text(row.label), *texts, style=TERMINAL.get(row.style))
            table.add_section()
        return table

    def __rich__(self) -> RichTable:
        return self.rich()

    def _short(self, cell: TableCell) -> str:
        return cell.text if self.prose else cell.text.replace(" ± ", "±") + cell.mark


def _markdown(cell: TableCell) -> str:
    text = f"**{cell.text}**" if cell.style == "best" else cell.text
    return text + f"<br><sub>{cell.note}</sub>" * bool(cell.note)


def render(template: str, **values: Any) -> Markup:
    """A Jinja template filled in; text is escaped, markup is not."""
    from jinja2 import Environment
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return Markup(environment.from_string(template.strip()).render(values))


def number_text(numbers: Mapping[str, Any]) -> str:
    """``0.123 ± 0.004`` from ``mean`` and ``spread``, with three significant digits of the mean.

    The mean alone where the spread is None: one seed range has none.
    """
    mean, spread = numbers["mean"], numbers["spread"]
    digits = 3 if mean < 1 else 2 if mean < 10 else 1
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
