"""Templates and assets that the pages share."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from iqattack.specs import printable

PLOTLY = "plotly-basic.min.js"  # a quarter of plotly.js, sufficient for the charts
_OPTION = re.compile(r"--[a-z][a-z-]*(?: [\d.,-]+\d)?")


def template(name: str) -> Template:
    """A template of the package, with autoescaping."""
    environment = Environment(
        loader=PackageLoader("iqattack.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["options"] = options
    return environment.get_template(name)


def asset(name: str) -> bytes:
    """A style sheet or a script of the package."""
    return (files("iqattack.reporting") / "assets" / name).read_bytes()


def _shown(value: Any) -> Any:
    """A value for the template, which may come from somebody else's run: see `printable`."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def options(text: str) -> Markup:
    """A text without line breaks inside options such as --score-range 0,1."""
    # A plain string: text inserted into a Markup would be escaped a second time.
    return Markup(_OPTION.sub(r'<span class="option">\g<0></span>', str(escape(printable(text)))))
