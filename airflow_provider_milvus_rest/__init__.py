"""Airflow provider that upserts entities into Milvus over its REST API.

This module imports nothing from Airflow: provider discovery calls :func:`get_provider_info` while Airflow itself is
still being imported.
"""

from typing import Any

__version__ = "1.0.0"


def get_provider_info() -> dict[str, Any]:
    """The provider info, which Airflow gets from the ``apache_airflow_provider`` entry point."""
    name = "Milvus (REST)"
    hook, operator, decorator, asset = (
        f"{__name__}.{package}.milvus_rest" for package in ("hooks", "operators", "decorators", "assets")
    )
    uris = {
        "schemes": ["milvus"],
        "handler": f"{asset}.sanitize_uri",
        "factory": f"{asset}.create_asset",
        "to_openlineage_converter": f"{__name__}.assets.openlineage.convert_asset_to_openlineage",
    }
    return {
        "package-name": "airflow-provider-milvus-rest",
        "name": name,
        "versions": [__version__],
        "description": "Upsert entities into `Milvus <https://milvus.io/>`__ over its REST API.",
        "integrations": [{"integration-name": name, "external-doc-url": "https://milvus.io/", "tags": ["service"]}],
        "hooks": [{"integration-name": name, "python-modules": [hook]}],
        "operators": [{"integration-name": name, "python-modules": [operator]}],
        "task-decorators": [{"name": "milvus_rest_upsert", "class-name": f"{decorator}.milvus_rest_upsert_task"}],
        "asset-uris": [uris],
        "dataset-uris": [uris],  # for Airflow 2
        "connection-types": [
            {
                "connection-type": "milvus_rest",
                "hook-class-name": f"{hook}.MilvusRestHook",
                "hook-name": name,
                "conn-fields": CONN_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }


# Airflow 3.2 and later reads these from the provider info, earlier versions through the hook's methods.
CONN_FIELDS: dict[str, Any] = {
    "api_version": {
        "label": "API version",
        "description": "Version of Milvus's REST API: v1 (Milvus 2.3.2 and later) or v2 (2.3.13 and later).",
        "schema": {"type": ["string", "null"], "enum": ["v1", "v2"], "default": "v1"},
    },
    "connect_timeout": {
        "label": "Connect timeout (s)",
        "description": "Seconds to wait for the server to accept a connection.",
        "schema": {"type": ["number", "null"], "default": 10, "minimum": 0, "maximum": 86_400},
    },
    "read_timeout": {
        "label": "Read timeout (s)",
        "description": "Seconds to wait for the next byte of the response; with v2, also Milvus's own time limit.",
        "schema": {"type": ["number", "null"], "default": 60, "minimum": 0, "maximum": 86_400},
    },
    "verify": {
        "label": "Verify TLS",
        "description": "true, false, or the path of a CA file (PEM) to trust instead of the system's.",
        "schema": {"type": ["string", "null"], "default": "true"},
    },
    "client_cert": {
        "label": "Client certificate",
        "description": "Path of a PEM file, for a server that asks for one (mutual TLS).",
        "schema": {"type": ["string", "null"]},
    },
    "client_key": {
        "label": "Client key",
        "description": "Path of the client certificate's key, if it is not in the same file.",
        "schema": {"type": ["string", "null"]},
    },
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": [],
    "relabeling": {"schema": "Database", "password": "Password or API key"},
    "placeholders": {
        "host": "http://localhost or https://in01-xxxx.vectordb.zillizcloud.com",
        "port": "19530 (443 for https://)",
        "schema": "default",
        "login": "root (empty for an API key)",
    },
}
