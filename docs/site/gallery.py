"""The notebooks as pages of the site, and the gallery: title and a figure of each."""

import base64
import json
import math
import shutil
import struct
from pathlib import Path

SHAPE = 4 / 3
"""Width over height of a card's picture."""

CARD = """
:::{{grid-item-card}} {title}
:link: notebooks/{name}
:link-type: doc
:img-top: site/cards/{name}.png
:class-card: thumbnail
:::
"""


def title(notebook: dict) -> str:
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].removeprefix("# ")


def figure(notebook: dict) -> bytes:
    """The PNG among its outputs whose shape fits a card best."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", ()))
    found = (output.get("data", {}).get("image/png") for output in outputs)
    return min((base64.b64decode(png) for png in found if png), key=_misfit)


def _misfit(png: bytes) -> float:
    width, height = struct.unpack(">II", png[16:24])
    return abs(math.log(width / height / SHAPE))


def write(app) -> None:
    source = Path(app.srcdir)
    folder, pages = source / "site" / "cards", source / "notebooks"
    folder.mkdir(exist_ok=True)
    pages.mkdir(exist_ok=True)
    cards = []
    for path in sorted((source.parent / "notebooks").glob("*.ipynb")):
        if not (pages / path.name).exists() or path.stat().st_mtime > (pages / path.name).stat().st_mtime:
            shutil.copy2(path, pages)
        notebook = json.loads(path.read_text())
        (folder / f"{path.stem}.png").write_bytes(figure(notebook))
        cards.append(CARD.format(title=title(notebook), name=path.stem))
    grid = "\n".join(["::::{grid} 1 2 2 3", ":gutter: 2", *cards, "::::", ""])
    (folder / "all.md").write_text(grid)


def setup(app) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
