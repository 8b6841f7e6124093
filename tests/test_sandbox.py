"""What depends on the system: environments, shared memory, and the end of a whole process tree."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer import sandbox

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="holds in full on Linux only")


def test_what_is_not_allowed_in_the_environment_stays_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = sandbox.trial_environment(
        Path("/home/of/trial"), "cpu:1", threads=3, compile_cache=Path("/compiled")
    )
    assert "OPENAI_API_KEY" not in environment
    assert environment["LANG"] == "C.UTF-8" and environment["PATH"] == os.environ["PATH"]
    assert environment["HOME"] == environment["TMPDIR"] == "/home/of/trial"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["TORCHINDUCTOR_CACHE_DIR"] == "/compiled/inductor"
    assert environment["TRITON_CACHE_DIR"] == "/compiled/triton"


@pytest.mark.parametrize(
    ("device", "visible"), [("cpu:0", ""), ("cuda:2", "2"), ("cuda:GPU-5a:b", "GPU-5a:b")]
)
def test_a_trial_sees_its_own_device_alone(device: str, visible: str) -> None:
    environment = sandbox.trial_environment(Path(), device, threads=1, compile_cache=Path())
    assert environment["CUDA_VISIBLE_DEVICES"] == visible


def test_shared_memory_is_shared_and_cannot_be_made_to_fault_its_reader() -> None:
    memory = sandbox.shared_memory(8192)
    with os.fdopen(os.dup(memory), "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[8000:8004] = b"abcd"
    buffer = bytearray(4)
    assert os.preadv(memory, [buffer], 8000) == 4 and buffer == b"abcd"
    if sys.platform == "linux":
        for size in (0, 1 << 30):
            with pytest.raises(PermissionError):
                os.ftruncate(memory, size)
    os.close(memory)


# A supervisor in small: it starts a tree, measures it, and ends it.
TREE = """
import os, subprocess, sys, time
from trainer import sandbox

sandbox.adopt_orphans()
detached = '''
import os, time
for _ in range(2):
    if os.fork(): os._exit(0)
    os.setsid()
print(os.getpid(), flush=True)
time.sleep(1000)
'''
burning = "import time; e = time.process_time() + 0.3\\nwhile time.process_time() < e: pass"
subprocess.run([sys.executable, "-c", burning])
child = subprocess.Popen([sys.executable, "-c", detached], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), sandbox.processor_seconds(), sandbox.memory_mb())
sandbox.kill_descendants()
"""


@LINUX
def test_a_tree_is_measured_whole_and_ended_whole_with_its_daemons() -> None:
    run = subprocess.run([sys.executable, "-c", TREE], capture_output=True, text=True, check=True)
    daemon, processor_seconds, memory_mb = run.stdout.split()
    assert not Path(f"/proc/{daemon}").exists()
    assert 0.3 <= float(processor_seconds) < 10
    assert 1 < float(memory_mb) < 1000


ORPHAN = """
import os, sys
from pathlib import Path
from trainer import sandbox
home, end = Path(sys.argv[1]), int(sys.argv[2])
(home / "train.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(1000)")
sandbox.start_trial(
    home, device="cpu:0", threads=1, compile_cache=home, channel=end, log=end
)
os.read(0, 1)
os.kill(os.getpid(), 9)
"""


@LINUX
def test_a_trial_dies_with_its_supervisor(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    supervisor = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path), str(writing)],
        stdin=subprocess.PIPE,
        pass_fds=[writing],
    )
    os.close(writing)
    with os.fdopen(reading) as log:
        assert log.readline().strip().isdigit()
        supervisor.communicate(b"x")
        assert log.read() == ""  # only ends when nobody is left who could write
