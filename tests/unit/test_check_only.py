"""``check_only``: what an upsert would refuse, and nothing sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.operators.milvus_rest import MilvusRestUpsertOperator
from tests.servers import UPSERT, ScriptedServer

pytestmark = pytest.mark.usefixtures("server_connection")

GOOD = {"id": 1, "vector": [0.5, 1, -2, 3], "text": "x"}
TRAPS: list[Any] = [
    *({**GOOD, "id": key} for key in ("1", 1.0, True, None, 2**63, -(2**63) - 1)),
    *({**GOOD, "text": text} for text in (5, None, "x" * 300, ["x"], True)),
    *(
        {**GOOD, "vector": vector}
        for vector in ([1, 2, 3], [1, 2, 3, None], [1, 2, 3, "4"], "[1,2,3,4]", [1, 2, 3, 1e39])
    ),
    {"id": 1, "vector": [0.5, 1, -2, 3]},
    {**GOOD, "extra": 1},
    "a text",
    [1, 2],
    5,
]


def run(files: Path, rejects: Path, **options: Any) -> tuple[dict[str, Any], str]:
    upsert = MilvusRestUpsertOperator(
        task_id="upsert", collection_name="docs", files=files, on_reject="skip", rejects_path=rejects, **options
    )
    outputs = upsert.execute({})
    return outputs, Path(outputs["rejects_path"]).read_text()


def test_the_same_rejects_and_no_request(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = [{**GOOD, "id": key % 40} for key in range(50)]
    lines = [json.dumps(row) for pair in zip(good, [*TRAPS, *TRAPS, *TRAPS], strict=False) for row in pair]
    path.write_text("\n".join([*lines, '{"id": 1, "vector": [NaN', "", '{"id": 1} {}']))
    checked, rejects = run(path, tmp_path / "checked", check_only=True)
    assert not server.sent_to(UPSERT)
    upserted, expected = run(path, tmp_path / "upserted")
    assert rejects == expected
    assert server.sent_to(UPSERT)
    assert checked["valid_count"] == upserted["upsert_count"] == 40
    assert checked["upsert_count"] == upserted["valid_count"] == checked["request_count"] == 0
    for name in ("read_count", "duplicate_count", "rejected_count"):
        assert checked[name] == upserted[name]
    assert checked["rejected_count"] == 50 + 2


def test_the_first_reject_fails(server: ScriptedServer) -> None:
    upsert = MilvusRestUpsertOperator(
        task_id="upsert", collection_name="docs", entities=[GOOD, {**GOOD, "text": 5}], check_only=True
    )
    with pytest.raises(
        e.RowsRejectedError, match=r"1 of 2 rows read so far is rejected\.\n\[1\]: field 'text' must be"
    ):
        upsert.execute({})
    assert not server.sent_to(UPSERT)


def test_options_that_do_not_go_together() -> None:
    for options, message in [
        ({"check_only": True, "verify_sample": 5}, "check_only stores nothing, so verify_sample"),
        ({"verify_sample": -1}, "verify_sample must be an integer ≥ 0, not -1"),
    ]:
        with pytest.raises(e.InputError, match=message):
            MilvusRestUpsertOperator(task_id="upsert", collection_name="docs", entities=[], **options)  # type: ignore[arg-type]
