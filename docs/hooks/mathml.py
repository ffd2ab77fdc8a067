"""Formulas become MathML when the site is built: browsers draw it themselves, without scripts, fonts or a network."""

import html
import re

from latex2mathml.converter import convert

#: What pymdownx.arithmatex leaves of `$x$` and `$$x$$` with `generic: true`.
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Called by MkDocs with the HTML of each page."""
    return FORMULA.sub(_mathml, content)


def _mathml(formula: re.Match[str]) -> str:
    tag, latex = formula.groups()
    display = "block" if tag == "div" else "inline"
    return f'<{tag} class="formula">{convert(html.unescape(latex.strip()), display=display)}</{tag}>'
