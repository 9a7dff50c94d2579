"""A report as one HTML page, which needs no network and no script."""

from collections.abc import Sequence
from html import escape

from jaxgd.report.pictures import inline_svg
from jaxgd.report.sections import Section, Table

_STYLE = """\
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a6068; --paper: #ffffff;
  --raised: #f4f5f7; --edge: #d9dce1; --link: #00527f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a3aab3; --paper: #16181b;
  --raised: #202327; --edge: #3a3f46; --link: #6fbff0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin: 0 0 .5rem; }
h1, h2, code, td { overflow-wrap: anywhere; }
a { color: var(--link); }
section { border-top: 1px solid var(--edge); margin-top: 2rem; padding-top: 1.5rem;
  overflow-x: auto; }
pre { background: var(--raised); border: 1px solid var(--edge); border-radius: .4rem;
  padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .925rem; }
th, td { border-bottom: 1px solid var(--edge); padding: .3rem 1.2rem .3rem 0; text-align: left;
  vertical-align: top; font-variant-numeric: tabular-nums; white-space: pre-line; }
th { font-weight: 600; } th[scope=row], figcaption { color: var(--soft); font-weight: 400; }
th[scope=row] { white-space: nowrap; }
.pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
figure { margin: 0; background: #ffffff; border: 1px solid var(--edge); border-radius: .4rem;
  padding: .6rem; }
figcaption { color: #5a6068; font-size: .875rem; }
figure svg { display: block; width: 100%; height: auto; }
"""
# Whatever stood in a file after all, nothing would be fetched and no script would run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, sections: Sequence[Section]) -> str:
    """The page: of several sections with a list of them first.

    Everything that a section says is escaped here.
    """
    parts = [_section(at, part) for at, part in enumerate(sections, 1)]
    if len(sections) > 1:
        links = [
            f'<li><a href="#s{at}">{escape(part.title)}</a>: {escape(part.summary)}</li>'
            for at, part in enumerate(sections, 1)
        ]
        parts.insert(0, f"<nav><ol>{''.join(links)}</ol></nav>")
    body = "\n".join(parts)
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<main>
{body}
</main>
</body>
</html>
"""


def _section(at: int, part: Section) -> str:
    command = f"<pre><code>{escape(part.command)}</code></pre>" if part.command else ""
    facts = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in part.facts
    )
    pictures = "".join(
        _figure(f"s{at}p{number}-", label, svg)
        for number, (label, svg) in enumerate(part.pictures, 1)
    )
    message = f"<p>{escape(part.message)}</p>" if part.message else ""
    return f"""\
<section id="s{at}">
<h2>{escape(part.title)}</h2>
{command}
{message}
<table>{facts}</table>
{"".join(map(_table, part.tables))}
<div class="pictures">{pictures}</div>
</section>"""


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(prefix: str, label: str, svg: bytes) -> str:
    words = escape(label)
    return f"<figure>{inline_svg(svg, prefix, words)}<figcaption>{words}</figcaption></figure>"
