"""Results in notebooks and in terminals.

The HTML is self-contained: no script, no file, and only the colours of the surrounding page, light
or dark. Every text is escaped, since image names may be untrusted.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

from iqattack.specs import printable

LINE = "1px solid rgba(128,128,128,.4)"
CELL = "padding:.15em .8em .15em 0;border:0;vertical-align:top;background:transparent;color:inherit"
MOST = 50  # rows of a table


def block(verdict: str, *parts: str) -> str:
    """A block that begins with a sentence. parts: HTML."""
    first = f'<p style="margin:.2em 0 .5em;max-width:50em"><b>{escaped(verdict)}</b></p>'
    return f'<div style="color:inherit;font-size:.95em">{first}{"".join(parts)}</div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names with their values."""
    body = "".join(
        f'<tr style="background:transparent"><th scope="row" style="{CELL};text-align:left;'
        f'font-weight:normal;opacity:.75">{escaped(name)}</th>'
        f'<td style="{CELL};text-align:left">{escaped(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table style="border-collapse:collapse;margin:0">{body}</table>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: Iterable[str] = ()) -> str:
    """A table of at most 50 rows. texts: columns to align left, besides the first."""
    left = {columns[0], *texts}
    aligned = [f"text-align:{'left' if name in left else 'right'}" for name in columns]

    def line(cells: Sequence[str], tag: str, style: str = "") -> str:
        inner = "".join(
            f'<{tag} style="{CELL};{align}{style}">{escaped(text)}</{tag}>'
            for text, align in zip(cells, aligned, strict=True)
        )
        return f'<tr style="background:transparent">{inner}</tr>'

    head = line(columns, "th", f";border-bottom:{LINE}")
    body = "".join(line(row, "td") for row in rows[:MOST])
    more = len(rows) - MOST
    rest = paragraph(f"and {more:,} more") if more > 0 else ""
    return (
        f'<table style="border-collapse:collapse;margin:0"><thead>{head}</thead>'
        f"<tbody>{body}</tbody></table>{rest}"
    )


def items(texts: Sequence[str]) -> str:
    """A list; nothing for an empty one."""
    if not texts:
        return ""
    inner = "".join(f"<li>{escaped(text)}</li>" for text in texts[:MOST])
    more = len(texts) - MOST
    inner += f"<li>and {more:,} more</li>" if more > 0 else ""
    return f'<ul style="margin:.3em 0 .3em 1.2em;padding:0">{inner}</ul>'


def paragraph(text: str) -> str:
    """A sentence."""
    return f'<p style="margin:.3em 0">{escaped(text)}</p>'


def picture(png: bytes, caption: str, height: int) -> str:
    """An embedded PNG with a caption. height: display height in pixels."""
    data = b64encode(png).decode("ascii")
    return (
        '<figure style="margin:0 .8em .5em 0;display:inline-block">'
        f'<img alt="{escaped(caption)}" src="data:image/png;base64,{data}" '
        f'style="height:{height}px;width:auto;max-width:none;display:block">'
        f'<figcaption style="font-size:.9em;opacity:.85">{escaped(caption)}</figcaption></figure>'
    )


def escaped(text: str) -> str:
    """A text escaped for HTML."""
    return escape(printable(text), quote=True)


def lines(verdict: str, rows: Iterable[tuple[str, str]], notes: Iterable[str] = ()) -> str:
    """The same for a terminal: a sentence, names with their values, and notes."""
    known = list(rows)
    width = max((len(name) for name, _ in known), default=0)
    body = [f"{printable(name):{width}}  {printable(value)}" for name, value in known]
    return "\n".join([printable(verdict), *body, *(f"- {printable(note)}" for note in notes)])
