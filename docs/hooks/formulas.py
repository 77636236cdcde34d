"""The TeX of the pages becomes MathML when they are built: a browser needs no script for it.

`pymdownx.arithmatex` finds the TeX and marks it; here it is converted. TeX that does not convert is
a warning, at which a strict build fails.
"""

import html
import logging
import re

import math_core

log = logging.getLogger("mkdocs.hooks.formulas")
MARKED = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>',
    re.DOTALL,
)
converter = math_core.LatexToMathML(fancy_error=False)


def mathml(tex: str, *, display: bool) -> str:
    """The TeX as MathML Core.

    Args:
      tex: Without dollars or brackets around it.
      display: Whether it stands on a line of its own.

    Returns:
      A `<math>` element.

    Raises:
      ValueError: A command is unknown, or a brace is not closed.
    """
    try:
        return converter.convert_with_local_state(tex.strip(), displaystyle=display)
    except math_core.LatexError as error:
        raise ValueError(f"{tex.strip()!r} does not convert: {error}") from error


def on_page_content(content: str, *, page, **_) -> str:
    """Convert what is marked as TeX on one page."""

    def converted(found: re.Match[str]) -> str:
        try:
            return mathml(html.unescape(found[3]), display=found[2] == "[")
        except ValueError as error:
            log.warning("%s: %s", page.file.src_uri, error)
            return found[0]

    return MARKED.sub(converted, content)
