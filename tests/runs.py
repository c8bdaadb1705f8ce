"""A run without Airflow: of any client, schema and source."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.report import IngestReport, Progress
from airflow_provider_milvus_rest.ingest.retry import Retry
from airflow_provider_milvus_rest.ingest.run import Ingest
from airflow_provider_milvus_rest.options import Options
from airflow_provider_milvus_rest.rows.schema import CollectionSchema


class State(dict[str, Any]):
    """Stands for Airflow 3.3's ``task_state_store``."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


def await_end_of_threads(name: str, seconds: float) -> None:
    """Fail if a thread with a name that begins so still lives after this time."""
    end = time.monotonic() + seconds
    while living := [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]:
        assert time.monotonic() < end, living
        time.sleep(0.01)


def ingest(
    client: Any,
    schema: CollectionSchema,
    source: Any,
    *,
    rejects: Any = None,
    report: IngestReport | None = None,
    retry: Retry | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
    **limits: Any,
) -> IngestReport:
    """The report, which adds up whatever is raised; without a file for rejects, the first one ends the run."""
    report = report or IngestReport()
    options = Options(on_reject="fail" if rejects is None else "skip", rejects=rejects, **limits)
    try:
        retry = retry or Retry(0, options.concurrency)
        progress = progress or Progress(report, lambda: None, lambda _: None)
        Ingest(client, schema, options, report, retry, progress, checkpoint).run(source)
    finally:
        report.check()
    return report
