"""The budget knows what the machine, control groups and limits of the process leave."""

import subprocess
import sys

import numpy as np
import pytest

import nets
import nets.paper.pinn
from nets.runtime import memory


def tree(root, groups, files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b\n", {"a/memory.max": "123456\n", "a/b/memory.max": "max\n"}, 123456),
        ("0::/a/b\n", {"a/memory.max": "123456\n", "a/b/memory.max": "1234\n"}, 1234),
        ("0::/host/path\n", {"memory.max": "4321\n"}, 4321),
        ("5:cpu,memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": "777\n"}, 777),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, None),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("3:cpu:/a\n", {"a/memory.max": "5\n"}, None),
    ],
)
def test_control_groups(tmp_path, groups, files, limit):
    """Versions 1 and 2, the tightest of a group and those around it; no limit is none."""
    unlimited = memory.available(tmp_path)
    tree(tmp_path, groups, files)
    assert memory.available(tmp_path) == (unlimited if limit is None else limit)


def test_ulimit():
    """With an address space of 6 GiB less is there than that, by what is mapped already."""
    room = 6 * 2**30
    text = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({room}, {room}))
from nets.runtime import memory
print(memory.available())
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0 <= int(done.stdout) < room
    assert memory.available() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_nets": 2**31}, "memory_budget must be at least .* 2,147,483,648 networks at 1,000 inputs"),
        ({"width": 2**14}, None),
        ({"memory_budget": 1000}, "memory_budget must be at least .*; got 1,000"),
    ],
)
def test_inputs_are_refused_before_anything_is_allocated(changes, message):
    settings = {"act": "tanh", "cw": 1.0, "depth": 2, "width": 8, "n_nets": 1, "X": np.ones((1000, 1))}
    if message is None:
        assert nets.measure_inputs(**settings | changes).log_K.shape == (1, 2, 1000)
        return
    with pytest.raises(ValueError, match=message):
        nets.measure_inputs(**settings | changes)


def test_burgers_points_are_refused_before_they_are_drawn():
    with pytest.raises(ValueError, match="memory_budget must be at least"):
        nets.paper.pinn.train("tanh", 1.0, 1, interior=2**31 - 1, width=10**6)
