"""Workers of a pool end with the process that opened it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

OWNER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})
from endless import work
from ncm_kedro.process_pool import open_process_pool
if __name__ == "__main__":
    with open_process_pool(2) as pool:
        [pool.submit(work, {folder!r}) for _ in range(2)]
"""
WORK = """
import os, time
from pathlib import Path
def work(folder):
    Path(folder, f"{os.getpid()}.pid").touch()
    time.sleep(600)
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds):
    ends = time.monotonic() + 60
    while not holds() and time.monotonic() < ends:
        time.sleep(0.1)
    return holds()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see other processes")
def test_workers_of_a_killed_process_end(tmp_path):
    (tmp_path / "endless.py").write_text(WORK)
    script = tmp_path / "owner.py"
    script.write_text(OWNER.format(folder=str(tmp_path)))
    owner = subprocess.Popen([sys.executable, script])
    assert wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert all(is_alive(pid) for pid in workers)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert wait_until(lambda: not any(is_alive(pid) for pid in workers))
