"""What Airflow finds of the package, and what the package does without Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

from airflow_provider_milvus_rest import get_provider_info
from airflow_provider_milvus_rest.assets.milvus_rest import sanitize_uri
from airflow_provider_milvus_rest.assets.openlineage import convert_asset_to_openlineage
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings

REPO = Path(__file__).parents[2]


def test_provider_info_is_what_airflow_expects() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)
    (entry,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        module="airflow_provider_milvus_rest"
    )
    assert entry.load() is get_provider_info


def test_airflow_finds_the_hook_and_its_form() -> None:
    manager = ProvidersManager()
    assert manager.hooks["milvus_rest"].hook_class_name.endswith(".MilvusRestHook")
    fields = {name.rpartition("__")[2] for name in manager.connection_form_widgets if "__milvus_rest__" in name}
    assert fields == set(ConnectionSettings.model_fields) - {"base_url", "token", "database"}
    assert manager.field_behaviours["milvus_rest"]["relabeling"]["schema"] == "Database"
    assert MilvusRestHook.get_ui_field_behaviour()["relabeling"]["schema"] == "Database"
    assert MilvusRestHook.default_conn_name == "milvus_rest_default"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("get airflow-provider-milvus-rest --full", "milvus_rest_upsert_task"),
        ("hooks", "airflow_provider_milvus_rest.hooks.milvus_rest.MilvusRestHook"),
        ("widgets", "extra__milvus_rest__read_timeout"),
    ],
)
def test_airflow_lists_it_without_a_warning(command: str, expected: str) -> None:
    airflow = [sys.executable, "-W", "always", "-m", "airflow", "providers"]
    done = subprocess.run([*airflow, *command.split(), "--output", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert "milvus" not in done.stderr


def test_nothing_deprecated_is_used() -> None:
    """Such a warning names the file that makes it appear."""
    modules = [
        ".".join(path.relative_to(REPO).with_suffix("").parts)
        for path in (REPO / "airflow_provider_milvus_rest").rglob("*.py")
        if path.stem != "__main__"
    ]
    assert len(modules) > 30
    command = [sys.executable, "-W", "always", "-c", f"import {', '.join(modules)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "airflow_provider_milvus_rest" not in done.stderr, done.stderr


def test_airflow_finds_the_assets() -> None:
    manager = ProvidersManager()
    handlers = "asset_uri_handlers" if "asset_uri_handlers" in dir(manager) else "dataset_uri_handlers"
    assert getattr(manager, handlers)["milvus"] is sanitize_uri
    converters = handlers.replace("uri_handlers", "to_openlineage_converters")
    assert getattr(manager, converters)["milvus"] is convert_asset_to_openlineage


def test_the_lower_floors_import_nothing_of_airflow() -> None:
    code = (
        "import sys, airflow_provider_milvus_rest.ingest.run, airflow_provider_milvus_rest.testing;"
        "print([name for name in sys.modules if name.partition('.')[0] == 'airflow'])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
