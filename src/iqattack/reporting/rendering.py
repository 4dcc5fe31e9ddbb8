"""Templates and assets that the pages share."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from iqattack.specs import printable

PLOTLY = "plotly-basic.min.js"  # a quarter of plotly.js, sufficient for the charts
_OPTION = re.compile(r"--[a-z][a-z-]*(?: [\d.,-]+\d)?")


def template(name: str, filters: Mapping[str, Callable[..., str]] | None = None) -> Template:
    """A template of the package, with autoescaping. filters: its own, by name."""
    environment = Environment(
        loader=PackageLoader("iqattack.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"options": options, **(filters or {})}
    return environment.get_template(name)


def asset(name: str) -> bytes:
    """A style sheet or a script of the package."""
    return (files("iqattack.reporting") / "assets" / name).read_bytes()


def inline(name: str) -> Markup:
    """A script for inclusion in a page."""
    text = asset(name).decode().replace("\r\n", "\n")
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError(f"{name}: would end its own element")
    return Markup(text)


def inline_style(name: str) -> Markup:
    """A style sheet for inclusion in a page."""
    return Markup(asset(name).decode())


def allowed(scripts: Iterable[str]) -> str:
    """The content security policy of a page in one file: only these scripts, and nothing from
    elsewhere.
    """
    hashes = (b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    ours = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {ours}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _shown(value: Any) -> Any:
    """A value for the template, which may be somebody else's: see `printable`."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def options(text: str) -> Markup:
    """A text without line breaks inside options such as --score-range 0,1."""
    # A plain string: text inserted into a Markup would be escaped a second time.
    return Markup(_OPTION.sub(r'<span class="option">\g<0></span>', str(escape(printable(text)))))
