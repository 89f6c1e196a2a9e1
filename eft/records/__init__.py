"""Records of results: what their fields are, and how they read as text, as named arrays and as figures."""

from eft.records import fields as fields
from eft.records.descriptions import (
    DESCRIPTIONS,
    Column,
    Description,
    Field,
    Part,
    Rows,
    Tree,
    columns,
    description,
)
from eft.records.methods import METHODS

__all__ = [
    "DESCRIPTIONS",
    "METHODS",
    "Column",
    "Description",
    "Field",
    "Part",
    "Rows",
    "Tree",
    "columns",
    "description",
]
