"""A whole tree of processes, measured and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.descendants import folder_mb

# A supervisor in small: it starts a tree, measures it, and ends it.
TREE = """
import os, subprocess, sys, time
from trainer import descendants
from trainer.clock import processor_seconds

descendants.adopt_orphans()
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
daemon = child.stdout.readline().strip()
print(daemon, processor_seconds(), descendants.memory_mb(), descendants.process_count())
descendants.kill_descendants()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="holds in full on Linux only")
def test_a_tree_is_measured_whole_and_ended_whole_with_its_daemons() -> None:
    run = subprocess.run([sys.executable, "-c", TREE], capture_output=True, text=True, check=True)
    daemon, processor_seconds, memory_mb, count = run.stdout.split()
    assert not Path(f"/proc/{daemon}").exists()
    assert 0.3 <= float(processor_seconds) < 10
    assert 1 < float(memory_mb) < 1000
    assert int(count) >= 1


def test_the_disk_that_a_folder_takes_is_counted_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(os.urandom(3 << 20))
    (tmp_path / "upward").symlink_to("/")
    assert 3 <= folder_mb(tmp_path) < 4
