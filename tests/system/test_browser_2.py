"""The connection's form on Airflow 2, in headless Chromium; collected on Airflow 2 only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Page, expect, sync_playwright

from airflow_provider_milvus_rest import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_milvus_rest.testing import LocalMilvus
from airflow_provider_milvus_rest.testing.local_milvus import PASSWORD, free_ports
from tests.conftest import HOME
from tests.system.conftest import AIRFLOW, CHROMIUM, running, screenshot, wait_for


@pytest.fixture
def page(airflow_db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Page]:
    (HOME / "webserver_config.py").write_text('AUTH_ROLE_PUBLIC = "Admin"\n')
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__WEBSERVER__SECRET_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("PATH", f"{Path(AIRFLOW).parent}{os.pathsep}{os.environ['PATH']}")  # for gunicorn
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        try:
            with urlopen(f"{url}/health", timeout=5):
                return True
        except OSError:
            return False

    log = tmp_path / "webserver.log"
    command = [AIRFLOW, "webserver", "--hostname", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with running(command, log):
        wait_for(is_up, 120, log.read_text)
        with sync_playwright() as playwright, playwright.chromium.launch(**CHROMIUM) as browser:
            page = browser.new_page(viewport={"width": 1200, "height": 1780})
            page.set_default_timeout(30_000)
            page.goto(f"{url}/connection/add")
            yield page


def test_the_form(page: Page) -> None:
    page.evaluate("jQuery('#conn_type').val('milvus_rest').trigger('change')")
    for name, text in UI_FIELD_BEHAVIOUR["placeholders"].items():
        expect(page.locator(f"#{name}")).to_have_attribute("placeholder", text)
    for label in UI_FIELD_BEHAVIOUR["relabeling"].values():
        expect(page.get_by_text(label, exact=True)).to_be_visible()
    for name, field in CONN_FIELDS.items():
        expect(page.get_by_text(field["label"], exact=True)).to_be_visible()
        expect(page.get_by_text(field["description"], exact=True)).to_be_visible()
        default = str(field["schema"].get("default", ""))
        expect(page.locator(f"#extra__milvus_rest__{name}")).to_have_value(default)
    expect(page.locator("#password")).to_have_attribute("type", "password")

    with LocalMilvus(auth=True) as milvus:
        server = urlsplit(milvus.uri)
        for name, text in {
            "conn_id": "milvus_rest_form",
            "host": f"http://{server.hostname}",
            "port": str(server.port),
            "login": "root",
            "password": "hunter2",
        }.items():
            page.locator(f"#{name}").fill(text)
        page.locator("#test-connection").click()
        expect(page.get_by_text("Check login and password")).to_be_visible()
        screenshot(page, "connection-form-2.11")
        page.locator("#password").fill(PASSWORD)
        page.locator("#test-connection").click()
        expect(page.get_by_text(f"Milvus at {milvus.uri}: 0 collections in 'default'")).to_be_visible()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Added Row")).to_be_visible()
        # A process of its own, with the key that the password is encrypted with.
        test = [AIRFLOW, "connections", "test", "milvus_rest_form"]
        assert "Connection success!" in subprocess.check_output(test, text=True)
