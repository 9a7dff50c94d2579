"""The notebooks as pages of the documentation site, with the outputs that are stored in them.

A hook of MkDocs. Formulas become MathML, which browsers show without a script.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook, and the pictures in it."""
    for path in sorted(Path(config.config_file_path).parent.glob("notebooks/*.ipynb")):
        notebook = json.loads(path.read_text())
        parts = [shown(cell) for cell in notebook["cells"]]
        pictures = [picture for cell in notebook["cells"] for picture in pictures_in(cell)]
        text = "\n\n".join(parts)
        for number, picture in enumerate(pictures):
            name = f"{path.stem}-{number}.png"
            text = text.replace("![](picture)", f"![what the cell above drew]({name})", 1)
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
    return files


def shown(cell: Any) -> str:
    """A cell as Markdown."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return FORMULA.sub(_mathml, source)
    outputs = (_output(output) for output in cell["outputs"])
    return "\n\n".join([f"```python\n{source}\n```", *outputs])


def pictures_in(cell: Any) -> list[bytes]:
    """The pictures that a cell has drawn."""
    outputs = (output.get("data", {}).get("image/png") for output in cell.get("outputs", ()))
    return [base64.b64decode(picture) for picture in outputs if picture]


def _output(output: Any) -> str:
    if "image/png" in output.get("data", {}):
        return "![](picture)"
    return f"```text\n{''.join(output['text']).rstrip()}\n```"


def _mathml(found: re.Match[str]) -> str:
    block, inline = found.groups()
    shown = convert(block or inline, display="block" if block else "inline").replace("\n", "")
    return shown if block else f"<span>{shown}</span>"
