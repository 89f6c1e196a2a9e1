"""The quick tests with other versions: the lowest that are allowed, and the newest, of every Python.

Each environment is made anew in .venv-matrix. "lowest" takes the lowest version of each direct dependency;
what they say is deprecated in versions of others that came later is no error there. A Python that is not on
this machine is left out, and named.

Run: python tests/matrix.py [name ...]
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venv-matrix"
UV = str(Path(sys.executable).parent / "uv")

ENVIRONMENTS = {
    "lowest": ("3.11", ["--resolution", "lowest-direct"]),
    "newest-3.11": ("3.11", []),
    "newest-3.12": ("3.12", []),
    "newest-3.13": ("3.13", []),
    "newest-3.14": ("3.14", []),
}
LENIENT = {"lowest": ["-W", "ignore::DeprecationWarning"]}
"""Options of pytest where it is not as strict as elsewhere."""

TESTS = [
    "eft/gaussian/test_moments.py", "eft/flows/test_flow.py", "eft/criticality/test_criticality.py",
    "nets/initialization/test_ensemble.py", "nets/training/test_training.py", "nets/files",
    "test_bad_input.py",
]  # fmt: skip
QUICK = "--xla_backend_optimization_level=0"
"""Of the flags with which `make test` compiles, the one that all versions know."""

REPORTED = ("jax", "flax", "numpy", "optax")


def python(version: str) -> str | None:
    """The path of a Python of this version, if there is one."""
    command = [UV, "python", "find", "--offline", version]
    found = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER)
    if found.returncode == 0:
        return found.stdout.strip()
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next(map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python"))), None)


def tested(name: str, interpreter: str, options: list[str]) -> bool:
    """Whether the tests pass in a new environment; prints its versions and the last line of the tests."""
    folder = FOLDER / name
    own = folder / "bin" / "python"
    install = [UV, "pip", "install", "--quiet", "--python", str(own)]
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", interpreter, str(folder)], check=True)
    subprocess.run([*install, *options, "--editable", f"{ROOT}[test]"], check=True)
    freeze = [UV, "pip", "freeze", "--python", str(own)]
    lines = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.splitlines()
    versions = [line for line in lines if line.split("==")[0] in REPORTED]
    tests = [f"tests/{test}" for test in TESTS]
    run = [str(own), "-m", "pytest", "-p", "no:xdist", *LENIENT.get(name, ()), *tests]
    env = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"}
    ended = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True)
    (folder / "pytest.log").write_text(ended.stdout + ended.stderr)
    last = (ended.stdout.strip() or ended.stderr.strip() or "no word").splitlines()[-1]
    print(f"{name}: {last} ({', '.join(versions)})", flush=True)
    return ended.returncode == 0


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    passed = True
    for name in sys.argv[1:] or ENVIRONMENTS:
        version, options = ENVIRONMENTS[name]
        interpreter = python(version)
        if interpreter is None:
            print(f"{name}: Python {version} is not on this machine", flush=True)
            continue
        passed = tested(name, interpreter, options) and passed
    sys.exit(not passed)


if __name__ == "__main__":
    main()
