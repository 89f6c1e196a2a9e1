"""A training run that is killed again and again ends with the same bits as one that is left alone.

Each round starts the run of `tests/jobs/training_job.py` in an empty folder, kills it with SIGKILL at a
random moment after its first checkpoint, starts it again, and so on until it is done or has been killed five
times; then it is let go to its end. Claim: every digest is that of the unbroken run. 10,000 flipped bits and
truncations of one of its checkpoints: none is read.

Run: python benchmarks/robustness/kills.py [KILLS, default 200]
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nets.files import archive, checkpoints

JOB = Path(__file__).parents[2] / "tests" / "jobs" / "training_job.py"
PER_ROUND = 5
SPOILT = 10_000


def launched(folder: str) -> subprocess.Popen:
    command = [sys.executable, str(JOB), folder, "40"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def digest(folder: str) -> str:
    out, err = (process := launched(folder)).communicate()
    if process.returncode:
        raise SystemExit(err)
    return out.split()[-1]


def killed(folder: Path, dice: random.Random) -> bool:
    """Whether it was still at work when it was killed."""
    before = {path.name for path in folder.glob("step-*")}
    process = launched(str(folder))
    while process.poll() is None and {path.name for path in folder.glob("step-*")} == before:
        time.sleep(0.001)
    time.sleep(dice.uniform(0, 0.25))
    process.kill()
    process.communicate()
    return process.returncode == -9


def spoil(folder: Path, dice: random.Random) -> int:
    """How many damaged files were read as if they were whole."""
    path = max(folder.glob("step-*.npz"))
    whole, passed = path.read_bytes(), 0
    for i in range(SPOILT):
        damaged = bytearray(whole)
        if i % 2:
            damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        else:
            del damaged[dice.randrange(len(whole)) :]
        path.write_bytes(damaged)
        try:
            archive.load(path)
            passed += 1
        except archive.ArchiveError:
            pass
    path.write_bytes(whole)
    return passed


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    dice = random.Random(0)
    expected, kills, rounds, other, torn = digest("-"), 0, 0, 0, 0
    while kills < wanted:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for _ in range(min(PER_ROUND, wanted - kills)):
                if not killed(folder, dice):
                    break
                kills += 1
                torn += any(not path.name.startswith("step-") for path in folder.iterdir())
                checkpoints.latest(folder)
            rounds += 1
            other += digest(name) != expected
            if kills >= wanted:
                passed = spoil(folder, dice)
        print(f"{kills} kills, {torn} of them in a write, {rounds} runs, {other} with other bits", flush=True)
    print(f"{SPOILT:,} damaged checkpoints, {passed} of them read")
    assert other == 0 and passed == 0


if __name__ == "__main__":
    main()
