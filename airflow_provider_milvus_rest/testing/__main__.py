"""Start a real Milvus, and run a command with it as the connection ``milvus_rest_default``."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from urllib.request import getproxies_environment

from airflow_provider_milvus_rest.testing.local_milvus import NO_PROXY, LocalMilvus, LocalMilvusError, MilvusAddress

STOP_SECONDS = 15


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command and return its exit code.

    On Ctrl+C, interrupt the command and its child processes, and kill those that do not stop in time:
    ``airflow standalone`` leaves some of its processes behind.
    """
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        print(f"Stopping the command (up to {STOP_SECONDS} s) …", flush=True)
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 130


def main() -> int:
    """Run the given command, or without one, keep the server running until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_milvus_rest.testing",
        description="Start a Milvus server, run a command that finds it as the Airflow connection "
        "milvus_rest_default, and stop the server. Without a command, keep the server running until interrupted. "
        "If MILVUS_REST_TEST_URI (and MILVUS_REST_TEST_TOKEN, MILVUS_REST_TEST_API_VERSION) name a server, use "
        "that one instead.",
    )
    parser.add_argument("--port", type=int, help="the port for REST and gRPC; default: any free port")
    parser.add_argument("--folder", help="keep the data here; default: a temporary folder, removed at the end")
    parser.add_argument("command", nargs="*", help="the command to run, after --")
    arguments = parser.parse_args()
    command, given = arguments.command, MilvusAddress.from_environment()
    if given and not command:
        parser.error("MILVUS_REST_TEST_URI names a server, so none is started: give a command to run.")
    if given and (arguments.port or arguments.folder):
        parser.error("MILVUS_REST_TEST_URI names a server, so none is started: omit --port and --folder.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    # A shell starts background processes with SIGINT ignored, and the command would inherit that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if given is None:
        print("Starting a local Milvus: about ten seconds …", flush=True)
    try:
        with nullcontext(given) if given else LocalMilvus(arguments.folder, port=arguments.port) as milvus:
            print(f"Milvus is at {milvus.uri}", flush=True)
            connection = {"AIRFLOW_CONN_MILVUS_REST_DEFAULT": milvus.connection_json()}
            if command:
                return run(command, os.environ | NO_PROXY | connection)
            with suppress(KeyboardInterrupt):
                shown = connection | (NO_PROXY if getproxies_environment().keys() - {"no"} else {})
                print("export", *(f"{name}={shlex.quote(value)}" for name, value in shown.items()), flush=True)
                print("It runs until you press Ctrl+C.", flush=True)
                while True:  # pause() would miss a signal that comes just before it
                    time.sleep(1)
    except (LocalMilvusError, OSError) as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:  # while it starts
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
