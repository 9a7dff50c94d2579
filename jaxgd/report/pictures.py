"""Figures as the bytes of files, and as SVG that stands inside a page."""

import io
import re
import warnings
from typing import Any

DOTS_PER_INCH = 150


def png_of(figure: Any) -> bytes:
    """A Matplotlib figure as a PNG file."""
    return _saved(figure, "png", {})


def svg_of(figure: Any) -> bytes:
    """A Matplotlib figure as an SVG file, the same bytes for the same figure."""
    return _saved(figure, "svg", {"Date": None})


def _saved(figure: Any, kind: str, metadata: dict[str, Any]) -> bytes:
    import matplotlib as mpl

    buffer = io.BytesIO()
    # Letters as outlines look the same everywhere, and a name cannot be taken for anything else.
    settings: Any = {"svg.hashsalt": "jaxgd", "svg.fonttype": "path"}
    with warnings.catch_warnings(), mpl.rc_context(settings):
        # Of a script that the font lacks, in the names of params, and of axes that are crowded.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()


def inline_svg(svg: bytes, prefix: str, label: str) -> str:
    """An SVG file of Matplotlib's as an element of an HTML page.

    The prologue, the metadata and the comments, which repeat texts of the figure, are left out.

    Args:
      svg: the file.
      prefix: for the ids in it, which must differ from those of other elements of the page.
      label: says what it shows to those who cannot see it, escaped for HTML.
    """
    text = svg.decode()
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'\bhref="#', f'href="#{prefix}', text)
    text = re.sub(r"\burl\(#", f"url(#{prefix}", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
