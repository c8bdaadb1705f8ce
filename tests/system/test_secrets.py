"""Passwords and tokens stay out of logs, XComs, rendered fields and files, also without Airflow's own masker."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from tests.servers import DESCRIBE, UPSERT, Reply, Request, ScriptedServer

PASSWORD = "hunter2/§ecret pass"
TOKEN = f"somebody:{PASSWORD}"


def forms(secret: str) -> set[bytes]:
    """How a secret may be written."""
    text = secret.encode()
    return {text, quote(secret).encode(), quote(secret, safe="").encode(), base64.b64encode(text), secret[:10].encode()}


def echo(status: int = 200) -> Reply:
    """Repeats what it was sent to log in with."""

    def answer(request: Request) -> Reply:
        token = request.headers["Authorization"].encode("latin-1").decode()
        return Reply({"code": 65535, "message": f"no way, {token}"}, status, {"Location": f"http://x/{token[7:]}"})

    return answer  # type: ignore[return-value]


@pytest.mark.heavy
def test_no_secret_anywhere(airflow_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    with ScriptedServer() as server, ScriptedServer() as refusing, ScriptedServer() as redirecting:
        refusing.script(UPSERT, echo())
        redirecting.script(DESCRIBE, Reply("", 302, {"Location": f"http://127.0.0.1:1/?{quote(TOKEN)}"}))

        def connection(host: str, **more: object) -> str:
            return json.dumps(
                {"conn_type": "milvus_rest", "host": host, "login": "somebody", "password": PASSWORD, **more}
            )

        for name, value in {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[1] / "dags"),
            "AIRFLOW__CORE__HIDE_SENSITIVE_VAR_CONN_FIELDS": "False",
            "AIRFLOW_CONN_MILVUS_REST_DEFAULT": connection(server.url),
            "AIRFLOW_CONN_REFUSED": connection(refusing.url),
            "AIRFLOW_CONN_DOWN": connection("http://127.0.0.1:1"),
            "AIRFLOW_CONN_WRONG": connection("http://127.0.0.1:1", extra={"verify": "/no/such/file", "nonsense": 1}),
            "AIRFLOW_CONN_REDIRECTED": connection(redirecting.url),
        }.items():
            monkeypatch.setenv(name, value)
        airflow = str(Path(sys.executable).with_name("airflow"))
        subprocess.run([airflow, "db", "migrate"], check=True, capture_output=True)
        done = subprocess.run([airflow, "dags", "test", "secretive"], capture_output=True)
        hook = MilvusRestHook()
        shown = f"{hook!r} {vars(hook)} {hook.get_conn()!r} {hook.get_conn().settings!r} {hook.test_connection()}"
        for conn_id in ("refused", "redirected", "wrong", "down"):
            shown += str(MilvusRestHook(conn_id).test_connection())
        assert server.requests[0].headers["Authorization"].encode("latin-1").decode() == f"Bearer {TOKEN}"
    output = done.stdout + done.stderr + shown.encode()
    assert b"no way, Bearer ***" in output
    assert b"rejected 1" in output
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"airflow.db", "airflow.cfg"}
    assert list(home.glob("rejects/*.jsonl"))
    searched = {str(path): path.read_bytes() for path in files} | {"output": output}
    for secret in (PASSWORD, TOKEN):
        for form in forms(secret):
            if form == b"somebody:h":  # the login and a letter
                continue
            assert [
                content[max(0, content.find(form) - 200) :][:500] for content in searched.values() if form in content
            ] == []
    assert os.environ["AIRFLOW__CORE__HIDE_SENSITIVE_VAR_CONN_FIELDS"] == "False"
