"""`jaxgd report`: a page about the results in a directory."""

from pathlib import Path

import click

from jaxgd.cli.errors import refusing
from jaxgd.cli.given import need_pictures
from jaxgd.cli.options import Directory
from jaxgd.cli.screen import say
from jaxgd.files import write_bytes
from jaxgd.report import outcomes_in
from jaxgd.report import report as report_on


@click.command()
@click.argument("directory", metavar="DIR", type=Directory())
def report(directory: Path) -> int:
    """Write a page about results, DIR/report.html.

    DIR is where "jaxgd run --out DIR" wrote, or a directory above several of them. The page holds
    tables, pictures and the commands that made the results; it is one file, needs no network and
    runs no script.
    """
    with refusing():
        need_pictures()
        count = len(outcomes_in(directory))
        content = report_on(directory).encode(errors="xmlcharrefreplace")
        write_bytes(directory.absolute() / "report.html", content)
    say([("results", f"{count:,}"), ("files", str(directory / "report.html"))])
    return 0
