"""The documentation: its code runs and does what is said, links lead somewhere, names are there."""

import importlib
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import docs_checks
import pytest

import jaxgd as gd

# Pages are written for those who have changed none of JAX's settings.
pytestmark = [pytest.mark.float32, pytest.mark.promotion]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
MADE_AT_BUILD = {f"notebooks/{path.stem}.md" for path in ROOT.glob("notebooks/*.ipynb")}
PEERS = {"optax": "optax", "SciPy": "scipy", "PyTorch": "torch", "jaxopt": "jaxopt",
         "optimistix": "optimistix"}  # fmt: skip
BLOCK = re.compile(
    r"^## (?P<heading>[^\n]+)$"
    r'|^```python(?: title="(?P<title>[^"\n]+)")?\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


def sections(text):
    """The blocks of code by heading, as pairs of title and code; the first heading is empty."""
    found = {"": []}
    for match in BLOCK.finditer(text):
        if match["heading"]:
            found[match["heading"]] = []
        else:
            found[list(found)[-1]].append((match["title"], match["code"]))
    return {heading: blocks for heading, blocks in found.items() if blocks}


def is_missing(title):
    peer = PEERS.get(title.split()[0])
    return peer is not None and find_spec(peer) is None


def run(code, names, where):
    exec(compile(code, where, "exec"), names)
    return names


def run_theirs(code, names, where):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # jaxopt's, of itself
        return run(code, names, where)


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```python" in text])
def test_the_code_of_a_page_does_what_the_page_says(page):
    """Blocks without a title go on from one another; one with a title starts from these."""
    names = {}
    for heading, blocks in sections(PAGES[page]).items():
        by_title = {}
        for title, code in blocks:
            where = f"{page}: {heading}, {title or ''}"
            if title is None:
                run(code, names, where)
            elif not is_missing(title):
                runs = run if title.startswith("jaxgd") else run_theirs
                by_title[title] = runs(code, dict(names), where)
        check = docs_checks.CHECKS[page][heading]
        check(names, by_title) if by_title else check(names)


def test_every_section_with_code_is_checked():
    for page, text in PAGES.items():
        assert set(sections(text)) == set(docs_checks.CHECKS.get(page, {})), page


def test_the_first_page_shows_the_example_of_the_readme():
    (code,) = sections(PAGES["index.md"])[""]
    assert code[1] in (ROOT / "README.md").read_text()


def identifiers():
    return re.findall(r"^::: (\S+)$", "\n".join(PAGES.values()), re.MULTILINE)


def located(identifier):
    """What an identifier in the reference means: a module comes before what else has its name."""
    name, *rest = identifier.split(".")
    thing = importlib.import_module(name)
    for part in rest:
        name = f"{name}.{part}"
        is_module = hasattr(thing, "__path__") and find_spec(name) is not None
        thing = importlib.import_module(name) if is_module else getattr(thing, part)
    return thing


def test_every_public_name_is_in_the_reference_once():
    shown = [located(identifier) for identifier in identifiers()]
    assert len(set(map(id, shown))) == len(shown)
    inside = {name: getattr(gd, name) for name in ("starts", "landscapes")}
    for name in gd.__all__:
        thing = getattr(gd, name)
        assert name in {"__version__", "engines", "landscapes"} or any(thing is s for s in shown), (
            name
        )
    for package in inside.values():
        for name in package.__all__:
            thing = getattr(package, name)
            assert name == "LANDSCAPES" or any(thing is s for s in shown), name
    assert any(s is gd.engines.Plain for s in shown)
    assert any(s is gd.engines.Cpu for s in shown)


def anchors(page):
    """What a link into a page can name: its headings, and what the reference shows there."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.M | re.S), re.M
    )
    slugs = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}
    return slugs | set(re.findall(r"^::: (\S+)$", PAGES[page], re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (DOCS / page).parent / path if path else DOCS / page
        name = str(there.resolve().relative_to(DOCS.resolve()))
        assert name in PAGES or name in MADE_AT_BUILD, target
        assert not anchor or anchor in anchors(name), target


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in {*PAGES, *MADE_AT_BUILD}:
        assert f": {page}\n" in menu, page


def test_every_status_is_explained():
    listed = re.findall(
        r"^\| `([A-Z_]+)` \| .* \| (.*)\|$", PAGES["guide/stopping.md"], re.MULTILINE
    )
    assert [name for name, _ in listed] == [status.name for status in gd.Status]
    assert [failed.strip() == "yes" for _, failed in listed] == [s.failed for s in gd.Status]
