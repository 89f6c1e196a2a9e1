"""The site: `make docs` builds it from these pages, the notebooks' kept outputs and the docstrings."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "site"))

import eft  # noqa: E402
import nets  # noqa: E402

sys.modules["nets.initializers"] = nets.initializers  # its name for users; it stands in nets.models

project = "eft"
author = "the authors of eft"
copyright = author
release = version = eft.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",
    "docstrings",
    "links",
    "gallery",
]
exclude_patterns = ["site", "_build", "notebooks/.ipynb_checkpoints"]
templates_path = ["site/templates"]

html_theme = "furo"
html_title = f"eft {release}"
html_static_path = ["site/static"]
html_css_files = ["eft.css"]
html_copy_source = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
math_number_all = False
math_numfig = False

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
copybutton_exclude = ".linenos, .gp, .go"
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
