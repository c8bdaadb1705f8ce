"""``make demo``: run the TaskFlow example, and show only what its tasks print, not all of Airflow's log."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LOG = HERE.parent / ".airflow" / "demo.log"
STARTING = re.compile(r"\[DAG TEST\] starting task_id=(\S+)")
AIRFLOW_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT")
TRACEBACK = re.compile(r"\[(error|critical)")


def main() -> int:
    print("Running example_milvus_rest_taskflow through Airflow, which takes ten seconds to start …", flush=True)
    command = [sys.executable, "-u", str(HERE / "example_milvus_rest_taskflow.py")]
    with (
        LOG.open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            log.write(line)
            if task := STARTING.search(line):
                print(f"task {task[1]}", flush=True)
            elif not AIRFLOW_LOG_LINE.match(line) or TRACEBACK.search(line):
                print(f"    {line}", end="", flush=True)
    print(f"{'Failed' if run.returncode else 'Done'}; the whole log is in {LOG}")
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
