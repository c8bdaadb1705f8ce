"""Airflow's own pages, in headless Chromium: the connection's form, its Test button, and a run's log and outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Page, expect, sync_playwright

from airflow_provider_milvus_rest import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_milvus_rest.testing import LocalMilvus, MilvusAddress
from airflow_provider_milvus_rest.testing.local_milvus import PASSWORD
from tests.system.conftest import CHROMIUM, screenshot, wait_for
from tests.system.test_examples import EXAMPLES

pytestmark = [pytest.mark.heavy, pytest.mark.airflow_3, pytest.mark.timeout(600)]
DAG_ID = "example_milvus_rest_taskflow"


@pytest.fixture
def dags_folder() -> Path:
    return EXAMPLES


@pytest.fixture
def milvus_connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[MilvusAddress]:
    """A server that asks for a password; that Airflow knows it is up to the browser."""
    monkeypatch.setenv("AIRFLOW__CORE__TEST_CONNECTION", "Enabled")
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    with LocalMilvus(auth=True) as milvus:
        yield milvus


@pytest.fixture
def page(standalone: Callable[..., Any]) -> Iterator[Page]:
    with sync_playwright() as playwright, playwright.chromium.launch(**CHROMIUM) as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 1130})
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        page.goto(os.environ["AIRFLOW__API__BASE_URL"] + "/connections")
        yield page


def test_from_the_form_to_a_run(page: Page, standalone: Callable[..., Any], milvus_connection: MilvusAddress) -> None:
    server = urlsplit(milvus_connection.uri)
    page.get_by_role("button", name="Add Connection").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[name=connection_id]").fill("milvus_rest_default")
    dialog.get_by_role("combobox").last.click()
    page.keyboard.type("Milvus")
    page.keyboard.press("Enter")
    for name, text in UI_FIELD_BEHAVIOUR["placeholders"].items():
        expect(dialog.locator(f"input[name={name}]")).to_have_attribute("placeholder", text)
    for label in UI_FIELD_BEHAVIOUR["relabeling"].values():
        expect(dialog.get_by_text(label, exact=True)).to_be_visible()
    expect(dialog.locator("input[name=password]")).to_have_attribute("type", "password")
    fields = {"host": f"http://{server.hostname}", "port": str(server.port), "login": "root", "password": "hunter2"}
    for name, text in fields.items():
        dialog.locator(f"input[name={name}]").fill(text)
    screenshot(page, "connection-form")

    dialog.get_by_role("button", name="Extra Fields", exact=True).click()
    for name, field in CONN_FIELDS.items():
        expect(dialog.get_by_text(field["label"], exact=True)).to_be_visible()
        expect(dialog.get_by_text(field["description"], exact=True)).to_be_visible()
        if default := field["schema"].get("default"):
            found = dialog.locator(f"[name=element_{name}]")
            shown = found.input_value() if found.count() else dialog.inner_text()
            assert str(default) in shown
    screenshot(page, "connection-form-extra")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()

    answer, color = press_test(page)
    assert (answer["status"], color) == (False, "red")
    assert "hunter2" not in answer["message"]
    assert "Check login and password" in answer["message"]
    expect(page.get_by_text(answer["message"])).to_be_visible()
    screenshot(page, "connection-refused")

    page.get_by_role("button", name="Edit Connection").click()
    dialog.locator("input[name=password]").fill(PASSWORD)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    answer, color = press_test(page)
    assert (answer["status"], color) == (True, "green")
    assert answer["message"].startswith(f"Milvus at {milvus_connection.uri}: 0 collections in 'default'")
    screenshot(page, "connection-tested")

    page.goto(f"{os.environ['AIRFLOW__API__BASE_URL']}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()

    def state() -> str:
        runs = standalone("dags", "list-runs", DAG_ID)
        return runs[0]["state"] if runs else "none"

    wait_for(lambda: state() in ("success", "failed"), 180, state)
    assert state() == "success"
    rows = milvus_connection.client().query("stdlib_docs", filter="", output_fields=["count(*)"])
    assert rows[0]["count(*)"] == 608
    page.set_viewport_size({"width": 1200, "height": 720})
    page.reload()
    expect(page.get_by_text("upsert").first).to_be_visible()
    screenshot(page, "grid")

    run_id = standalone("dags", "list-runs", DAG_ID)[0]["run_id"]
    task = f"{os.environ['AIRFLOW__API__BASE_URL']}/dags/{DAG_ID}/runs/{run_id}/tasks/upsert"
    page.set_viewport_size({"width": 1500, "height": 450})
    page.goto(task)
    expect(page.get_by_text("Collection stdlib_docs: read 608, upserted 608 rows").first).to_be_visible()
    screenshot(page, "log")
    page.set_viewport_size({"width": 1200, "height": 1160})
    page.goto(f"{task}/xcom")
    expect(page.get_by_role("row").filter(has_text="upsert_count").get_by_text("608", exact=True)).to_be_visible()
    screenshot(page, "outputs")


def press_test(page: Page) -> tuple[Any, str]:
    """What the server says to the Test button, and the color that the button has then."""
    page.mouse.move(0, 0)
    button = page.get_by_role("button", name="Test Connection")
    with page.expect_response(lambda response: response.url.endswith("/connections/test")) as caught:
        button.click()
    page.wait_for_timeout(1000)
    color = button.locator("svg").evaluate("icon => getComputedStyle(icon).color")
    parts = [float(part) for part in re.findall(r"[\d.]+", color)[:3]]
    return caught.value.json(), ("red", "green", "blue")[parts.index(max(parts))]
