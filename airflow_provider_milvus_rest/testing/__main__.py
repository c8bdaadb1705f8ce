"""Run a command with a real Milvus at hand, as the connection ``milvus_rest_default``."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import nullcontext

from airflow_provider_milvus_rest.testing.local_milvus import LocalMilvus, MilvusAddress


def main() -> int:
    """Run the command given, or keep the server until interrupted if none is."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_milvus_rest.testing",
        description="Start a Milvus server, run a command that finds it as the Airflow connection "
        "milvus_rest_default, and stop the server. Without a command, keep the server until interrupted. "
        "If MILVUS_REST_TEST_URI (and MILVUS_REST_TEST_TOKEN) name a server, that one is used.",
    )
    parser.add_argument("command", nargs="*", help="after --, what to run")
    command = parser.parse_args().command
    given = MilvusAddress.from_environment()
    if given is None:
        print("Starting a local Milvus …", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with nullcontext(given) if given else LocalMilvus() as milvus:
        print(f"Milvus is at {milvus.uri}", flush=True)
        connection = {"AIRFLOW_CONN_MILVUS_REST_DEFAULT": milvus.connection_json()}
        if command:
            return subprocess.run(command, env=os.environ | connection, check=False).returncode
        print(*(f"export {name}='{value}'" for name, value in connection.items()), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("Stopping it.", flush=True)
        return 0


if __name__ == "__main__":
    sys.exit(main())
