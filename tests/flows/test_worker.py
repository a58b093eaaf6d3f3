from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from flows.worker import stop_flow_runs


def test_flow_runs_of_a_stopping_worker_save_first(tmp_path: Path) -> None:
    run = f"""
import signal, sys, time
from pathlib import Path
def save(*_): time.sleep(0.3); Path({str(tmp_path / "saved")!r}).touch(); sys.exit()
signal.signal(signal.SIGTERM, save)
Path({str(tmp_path / "begun")!r}).touch()
time.sleep(60)
"""
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], start_new_session=True)"
    with subprocess.Popen([sys.executable, "-c", parent, run]) as worker:
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        stop_flow_runs(worker.pid)
        assert (tmp_path / "saved").exists()
