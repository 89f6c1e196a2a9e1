"""Text that refers to an activation: parameters in it, and functions by the place where they are defined."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from eft.arguments import ArgumentError


def parameters(text: str, listed: str) -> dict[str, Any]:
    """What is listed as "key=value,key=value", the values being plain numbers; `text`: where it stands.

    Raises ArgumentError if it is anything else.

    >>> parameters("mrepu:p=2", "p=2")
    {'p': 2}
    """
    found: dict[str, Any] = {}
    for item in filter(None, listed.split(",")):
        key, _, value = item.partition("=")
        try:
            number = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            number = None
        if number is None or key.strip() in found:
            raise ArgumentError(f'act must be a name, or one with numbers as "mrepu:p=2"; got {text!r}')
        found[key.strip()] = number
    return found


def imported(option: str, text: str) -> Any:
    """What "module:name" or "file.py:name" names; `option`: that it was given for.

    Raises ArgumentError if it cannot be imported.
    """
    place, colon, name = text.rpartition(":")
    folder = str(Path(place).parent) if place.endswith(".py") else ""
    sys.path.insert(0, folder)
    try:
        if not colon:
            raise ImportError("there is no colon")
        thing = _imported(place)
        for part in name.split("."):
            thing = getattr(thing, part)
    except (Exception, SystemExit) as error:  # whatever the user-defined file raises
        also = "a name, " if option == "act" else ""
        raise ArgumentError(
            f"{option} must be {also}module:name or file.py:name; "
            f"{text!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(folder)
    return thing


def _imported(place: str) -> Any:
    """A module by its name, or by the path of its file."""
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).absolute()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
