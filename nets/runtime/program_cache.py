"""Compiled programs kept in a folder, so that a second process need not compile them again."""

import hashlib
import os
import shutil
from pathlib import Path

import jax

MAX_BYTES = 2 * 2**30
"""Size above which the folder is emptied before it is used."""


def user_folder(name: str) -> Path:
    """`$XDG_CACHE_HOME/name`, by default `~/.cache/name`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / name


def keep_programs(folder: Path) -> None:
    """Keep what this process, and those that it starts, compile; for each kind of processor apart.

    JAX's own settings go first: the variable JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false turns this off. A folder that cannot be written is not used.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") or not _usable(folder):
        return
    settings = {
        "jax_compilation_cache_dir": str(folder / _processor()),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


def _usable(folder: Path) -> bool:
    try:
        if sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > MAX_BYTES:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _processor() -> str:
    """A digest of the instructions of this processor, for which programs are compiled."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    flags = {line for line in lines if line.startswith(("flags", "Features"))}
    return hashlib.sha256("".join(sorted(flags)).encode()).hexdigest()[:8]
