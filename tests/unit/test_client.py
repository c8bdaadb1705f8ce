from __future__ import annotations

import json
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_milvus_rest import exceptions as e
from airflow_provider_milvus_rest.rest.client import MilvusRestClient
from airflow_provider_milvus_rest.rest.codes import class_of_answer
from airflow_provider_milvus_rest.rest.masking import Masking
from airflow_provider_milvus_rest.rest.models import UpsertRequest
from airflow_provider_milvus_rest.rest.settings import ConnectionSettings
from airflow_provider_milvus_rest.rows.schema import CollectionSchema, FieldSchema
from tests.servers import COLLECTIONS, DESCRIBE, UPSERT, UPSERT_V2, Reply, Request, ScriptedServer

FIRST_CALLS: dict[str, Callable[[MilvusRestClient], Any]] = {
    COLLECTIONS: lambda client: client.list_collections(),
    DESCRIBE: lambda client: client.describe_collection("docs"),
}
ONE = UpsertRequest(collection_name="docs", data=b'{"id":1}')


def client_of(url: str, **fields: Any) -> MilvusRestClient:
    return MilvusRestClient(ConnectionSettings.from_connection(host=url, **fields)[0])


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[MilvusRestClient]:
    with client_of(server.url, login="root", password="hunter2") as client:
        yield client


def test_both_documented_forms_of_data(server: ScriptedServer, client: MilvusRestClient) -> None:
    one = client.upsert(UpsertRequest(collection_name="dócs", db_name="db", data=b'{"id":1}'), [1])
    two = client.upsert(UpsertRequest(collection_name="docs", data=[b'{"id":1}', b'{"id":2}']), [1, 2])
    assert [request.json for request in server.requests] == [
        {"collectionName": "dócs", "dbName": "db", "data": {"id": 1}},
        {"collectionName": "docs", "data": [{"id": 1}, {"id": 2}]},
    ]
    assert (one.upsert_count, one.upsert_ids, two.upsert_count, two.upsert_ids) == (1, [1], 2, [1, 2])


def test_ids_are_of_the_keys_type(server: ScriptedServer, client: MilvusRestClient) -> None:
    server.script(UPSERT, Reply({"code": 200, "data": {"upsertCount": 1, "upsertIds": ["9007199254740993"]}}))
    assert client.upsert(ONE, [9007199254740993]).upsert_ids == [9007199254740993]
    assert client.upsert(ONE, ["9007199254740993"]).upsert_ids == ["9007199254740993"]
    assert server.requests[0].headers["Accept-Type-Allow-Int64"] == "true"


@pytest.mark.parametrize(
    ("login", "password", "header"),
    [
        ("root", "Milvus", "Bearer root:Milvus"),
        ("root", "a:b", "Bearer root:a:b"),
        (None, "api-key", "Bearer api-key"),
        ("root", "pässwörd€", "Bearer root:pässwörd€"),
        (None, None, None),
    ],
)
def test_authorization_is_the_connections_alone(
    server: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    login: str | None,
    password: str | None,
    header: str | None,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login stranger password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with client_of(server.url, login=login, password=password) as client:
        client.list_collections()
    sent = server.requests[0].headers.get("Authorization")
    assert (sent and sent.encode("latin-1").decode()) == header


def test_a_redirect_is_not_followed(server: ScriptedServer, client: MilvusRestClient) -> None:
    with ScriptedServer() as elsewhere:
        server.script(UPSERT, Reply(status=307, headers={"Location": f"{elsewhere.url}{UPSERT}"}))
        with pytest.raises(e.WrongEndpointError, match=r"a redirect to .* which is not followed"):
            client.upsert(ONE, [1])
        assert elsewhere.requests == []


@pytest.mark.parametrize("location", ["http://[bad/", "\xff\xfe/x", "", "//", "http://h:99999999/"])
def test_a_redirect_to_nowhere(server: ScriptedServer, client: MilvusRestClient, location: str) -> None:
    server.script(UPSERT, Reply(status=307, headers={"Location": location}))
    with pytest.raises(e.WrongEndpointError, match=r"a redirect to .* which is not followed"):
        client.upsert(ONE, [1])


ERROR = {"code": 1804, "message": "fail to deal the insert data"}


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (Reply({"code": 1800, "message": "user hasn't authenticated"}, 401), e.NotAuthenticatedError, "Check login"),
        (Reply({"code": 65535, "message": "permission deny"}, 403), e.ForbiddenError, "privilege"),
        (
            Reply({"code": 100, "message": "can't find collection collection not found[collection=470]"}),
            e.NotFoundError,
            "Collection 'docs': Milvus says: can't find collection collection not found[collection=470]. Create it",
        ),
        (
            Reply({"code": 800, "message": "database not found"}),
            e.NotFoundError,
            "Create it first, or check its name. [Milvus code 800]",
        ),
        (Reply({"code": 200, "message": "partition not found"}), e.NotFoundError, "partition not found"),
        (Reply({"code": 200, "data": None}), e.UnexpectedAnswerError, "reported success, but the response has no data"),
        (Reply({"code": 200, "message": ""}), e.UnexpectedAnswerError, "has no data"),
        (Reply({"code": 100, "message": "can't find collection"}, 403), e.NotFoundError, "Create it first"),
        (Reply({"code": 1, "message": "service not ready"}, 403), e.NotReadyError, "code 1, HTTP 403"),
        (Reply({"code": 1, "message": "service not ready"}, 401), e.NotReadyError, "code 1, HTTP 401"),
        (Reply({"code": 401, "message": "Unauthorized"}, 401), e.NotAuthenticatedError, "Check login"),
        (Reply({"code": 403, "message": "Forbidden"}, 403), e.ForbiddenError, "privilege"),
        (Reply({"code": 503, "message": "Unavailable"}, 503), e.NotReadyError, "HTTP 503"),
        (Reply(ERROR), e.DataRefusedError, "fail to deal the insert data"),
        (Reply({"code": 1102, "message": "too large"}), e.RequestTooLargeError, "too large"),
        (Reply("<html>too large</html>", 413), e.RequestTooLargeError, "HTTP 413"),
        (Reply({"code": 8, "message": "rate limit"}), e.OverloadedError, "rate limit"),
        (Reply('{"code":8,"message":"rate"}{"code":8,"message":"rate"}'), e.OverloadedError, "code 8"),
        (Reply("slow down", 429), e.OverloadedError, "slow down"),
        (Reply({"code": 1, "message": "service not ready"}), e.NotReadyError, "not ready"),
        (Reply({"code": 503, "message": "channel not available"}), e.NotReadyError, "code 503"),
        (Reply("<html>bad gateway</html>", 502), e.NotReadyError, "HTTP 502"),
        (Reply({"code": 65535, "message": "who knows"}), e.ServerError, "who knows"),
        (Reply(b"", 500), e.ServerError, "an empty response"),
        (Reply({"code": 10, "message": "service unimplemented"}), e.RequestRefusedError, "unimplemented"),
        (Reply("404 page not found", 404), e.WrongEndpointError, "404 page not found"),
        (Reply(b""), e.UnexpectedAnswerError, "an empty response"),
        (Reply("<html>hello</html>"), e.UnexpectedAnswerError, "<html>hello</html>"),
        (Reply('{"code":200,"data":{"upsertCount":1,"ups'), e.UnexpectedAnswerError, "instead of Milvus's JSON"),
        (Reply("[" * 100_000), e.UnexpectedAnswerError, "instead of Milvus's JSON"),
        (Reply({"code": 200, "data": {}}), e.UnexpectedAnswerError, "has no upsertCount"),
        (Reply({"code": 200, "data": [1]}), e.UnexpectedAnswerError, "has no upsertCount"),
        (Reply({"code": "200", "data": {"upsertCount": 1, "upsertIds": [1]}}), e.UnexpectedAnswerError, "JSON"),
        (
            Reply({"code": 200, "data": {"upsertCount": 2, "upsertIds": [1, 2]}}),
            e.UnexpectedAnswerError,
            "2 upserted rows",
        ),
        (Reply({"code": 200, "data": {"upsertCount": 1, "upsertIds": []}}), e.UnexpectedAnswerError, "0 keys"),
        (
            Reply({"code": 200, "data": {"upsertCount": True, "upsertIds": [1]}}),
            e.UnexpectedAnswerError,
            "has no upsert",
        ),
        (Reply({"code": 200, "data": {"upsertCount": 1, "upsertIds": ["x"]}}), e.UnexpectedAnswerError, "not the 1"),
        (
            Reply('{"code":200,"data":{"upsertCount":1,"upsertIds":[1]}}{"code":8}'),
            e.UnexpectedAnswerError,
            "also contained",
        ),
        (Reply({"code": 200, "data": {"upsertCount": 1, "upsertIds": [1]}}, 500), e.ServerError, "HTTP 500"),
    ],
)
def test_every_kind_of_failure_has_its_class(
    server: ScriptedServer, client: MilvusRestClient, reply: Reply, error: type[e.MilvusRestError], says: str
) -> None:
    server.script(UPSERT, reply)
    with pytest.raises(e.MilvusRestError) as caught:
        client.upsert(ONE, [1])
    assert type(caught.value) is error
    assert says in str(caught.value)


OTHER_SERVERS = ["<html>Welcome to nginx!</html>", {"status": "ok"}, ["docs"], "OK", {"data": [], "code": "200"}]


@pytest.mark.parametrize("body", OTHER_SERVERS, ids=str)
def test_a_first_answer_that_is_not_milvus_s_is_final(server: ScriptedServer, body: Any) -> None:
    """The port of another server: retries would not help."""
    for path, call in FIRST_CALLS.items():
        server.script(path, Reply(body))
        with client_of(server.url) as client:
            with pytest.raises(
                e.WrongEndpointError, match=r"sent .* instead of Milvus's JSON\. .*\(19530, not 9091\)\. \[HTTP 200"
            ):
                call(client)


@pytest.mark.parametrize("body", ["", " ", "{", '{"code":200,"data":["do', '{"code"', {"code": 200}])
def test_a_first_answer_that_may_be_milvus_s(server: ScriptedServer, body: Any) -> None:
    """Empty or cut short, in which case a retry may help."""
    for path, call in FIRST_CALLS.items():
        server.script(path, Reply(body))
        with client_of(server.url) as client, pytest.raises(e.UnexpectedAnswerError):
            call(client)


@pytest.mark.parametrize("first", [{"code": 200, "data": ["docs"]}, {"code": 1, "message": "service not ready"}])
def test_what_a_gateway_answers_later_is_not_final(server: ScriptedServer, first: Any) -> None:
    """Once Milvus has answered, as to a call that failed, it is a page that a gateway shows for a while."""
    server.script(COLLECTIONS, Reply(first))
    page = Reply("<html>We will be back soon</html>")
    for path in (*FIRST_CALLS, UPSERT, "/v1/vector/get")[1:]:
        server.script(path, page)
    with client_of(server.url) as client:
        with suppress(e.NotReadyError):
            client.list_collections()
        for call in (
            lambda: client.describe_collection("docs"),
            lambda: client.upsert(ONE, [1]),
            lambda: client.stored_keys(INTS, [1]),
        ):
            with pytest.raises(e.UnexpectedAnswerError, match="be back soon"):
                call()


PARTITION_KEY = "not support manually specifying the partition names if partition key mode is used"
NULLS = "the length of valid_data of field(text) is wrong: invalid parameter[expected=2][actual=0]"


@pytest.mark.parametrize(
    ("code", "message", "error", "remedy"),
    [
        (65535, PARTITION_KEY, e.RequestRefusedError, "use Milvus 2.3.13 or later"),
        (1100, "namespace data is not set but namespace enabled", e.RequestRefusedError, "without namespaces"),
        (
            1100,
            "the number of struct array fields is not the same as needed",
            e.RequestRefusedError,
            "arrays of structs",
        ),
        (
            1100,
            NULLS,
            e.RequestRefusedError,
            "a collection in which a field is nullable or has a default: set the connection's field",
        ),
        (1100, "the length of field is wrong", e.DataRefusedError, "a null, or the default"),
        (1804, "fail to deal the insert data, error: missing struct array field: s", e.RequestRefusedError, "structs"),
        (1807, "request is rejected by limiter, error: partition not found[partition=p]", e.NotFoundError, "Create it"),
        (8, "request is rejected by limiter, error: partition not found", e.OverloadedError, "partition not found"),
        (1807, "request is rejected by limiter, error: rate limit exceeded[rate=1]", e.OverloadedError, "rate limit"),
    ],
)
def test_what_the_message_tells_more_than_the_code(
    server: ScriptedServer,
    client: MilvusRestClient,
    code: int,
    message: str,
    error: type[e.MilvusRestError],
    remedy: str,
) -> None:
    server.script(UPSERT, Reply({"code": code, "message": message}))
    with pytest.raises(e.MilvusRestError) as caught:
        client.upsert(ONE, [1])
    assert type(caught.value) is error
    assert remedy in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("count", "ids", "keys"),
    [
        (5, [777] * 5, [0, 1, 2, 3, 4]),
        (2, [2, 1], [1, 2]),
        (2, ["1", "x"], [1, 2]),
        (2, ["a", "c"], ["a", "b"]),
        (1, [1], [1, 2]),
        (3, [1, 2], [1, 2]),
    ],
)
def test_other_keys_than_those_sent_are_not_acknowledged(
    server: ScriptedServer, client: MilvusRestClient, count: int, ids: list[Any], keys: list[Any]
) -> None:
    server.script(UPSERT, Reply({"code": 200, "data": {"upsertCount": count, "upsertIds": ids}}))
    with pytest.raises(e.UnexpectedAnswerError, match=f"not the {len(keys)} rows and keys that were sent"):
        client.upsert(UpsertRequest(collection_name="docs", data=[b"{}"] * len(keys)), keys)


def test_no_key_is_printed_where_there_are_many(server: ScriptedServer, client: MilvusRestClient) -> None:
    server.script(UPSERT, Reply({"code": 200, "data": {"upsertCount": 1000, "upsertIds": [*range(1, 1001)]}}))
    with pytest.raises(e.UnexpectedAnswerError) as caught:
        client.upsert(UpsertRequest(collection_name="docs", data=[b"{}"] * 1000), range(1000))
    assert len(str(caught.value)) < 300


SPELLINGS = [
    ("pa\"ss\\wörd<&>'/€😀 x", spelled)
    for spelled in (
        "pa\"ss\\wörd<&>'/€😀 x",  # as it is
        json.dumps("pa\"ss\\wörd<&>'/€😀 x"),
        json.dumps("pa\"ss\\wörd<&>'/€😀 x", ensure_ascii=False),
        json.dumps(json.dumps("pa\"ss\\wörd<&>'/€😀 x")),
        r"pa\"ss\\w\u00F6rd\u003c\u0026\u003e'\/\u20AC\uD83D\uDE00 x",  # Go, PHP
        r"pa\"ss\\w\xc3\xb6rd<&>'/\xe2\x82\xac\xf0\x9f\x98\x80 x",
        "pa&quot;ss\\w&ouml;rd&lt;&amp;&gt;&#39;/&euro;&#128512; x",
        "pa&#34;ss&#92;w&#246;rd&#60;&#38;&#62;&#x27;&#x2F;&#x20AC;&#x1F600; x",
        "pa&amp;quot;ss\\w&amp;ouml;rd&amp;lt;&amp;amp;&amp;gt;&amp;#039;/&amp;euro;&amp;#128512; x",
        quote("pa\"ss\\wörd<&>'/€😀 x"),
        quote("pa\"ss\\wörd<&>'/€😀 x", safe="").lower(),
        quote_plus("pa\"ss\\wörd<&>'/€😀 x"),
        quote(quote("pa\"ss\\wörd<&>'/€😀 x")),
        "pa\"ss\\wörd<&>'/€😀 x".encode().decode("latin-1"),
        b64encode("pa\"ss\\wörd<&>'/€😀 x".encode()).decode(),
        b64encode("root:pa\"ss\\wörd<&>'/€😀 x".encode()).decode(),
        quote_plus(b64encode("root:pa\"ss\\wörd<&>'/€😀 x".encode()).decode()),
        "pa\"ss\\wörd<&>'/€😀\n  x",  # wrapped
        "pa\"ss\\wörd<&>'/€😀\\n  x",
        "pa\"ss\\wörd<&>'/€😀&nbsp;x",
        " " * 16_370 + "pa\"ss\\wörd<&>'/€😀 x",
    )
]


@pytest.mark.parametrize(("password", "spelled"), SPELLINGS)
def test_a_secret_is_masked_however_it_is_spelled(server: ScriptedServer, password: str, spelled: str) -> None:
    server.script(
        COLLECTIONS,
        Reply(f"<p>Bearer root:{spelled} is not known</p>", 400),
        Reply({"code": 1800, "message": f"({spelled}) is not known"}, 401),
    )
    with client_of(server.url, login="root", password=password) as client:
        for _ in range(2):
            with pytest.raises(e.MilvusRestError, match=r"\*\*\*.* is not known") as caught:
                client.list_collections()
            assert spelled[3:] not in str(caught.value)
            assert "rd" not in str(caught.value).partition("is not known")[0]


@pytest.mark.parametrize(("login", "password"), [("root", "Milvus"), (None, "root:Milvus")])
def test_the_default_password_is_a_word_like_others(server: ScriptedServer, login: str | None, password: str) -> None:
    encoded = b64encode(b"root:Milvus").decode()
    server.script(COLLECTIONS, Reply({"code": 1, "message": f"Milvus Proxy is not ready: root:Milvus, {encoded}"}))
    with client_of(server.url, login=login, password=password) as client:
        with pytest.raises(e.NotReadyError, match=r"says: Milvus Proxy is not ready: \*\*\*, \*\*\*\."):
            client.list_collections()


def test_masking_takes_no_time() -> None:
    """Not even of a password that could be read in many ways."""
    mask = Masking("root:" + "\\" * 20 + "&%+" * 20)
    begin = time.monotonic()
    assert mask("\\" * 60_000)
    assert mask("&amp;%25\\" * 60_000)
    assert time.monotonic() - begin < 1


def test_what_the_server_echoes_is_cut_and_holds_no_secret(server: ScriptedServer, client: MilvusRestClient) -> None:
    message = f"bad header Bearer root:hunter2, password hunter2, row {[0.123456789] * 10_000}"
    server.script(UPSERT, Reply({"code": 1804, "message": message}), Reply(message, 400))
    for _ in range(2):
        with pytest.raises(e.MilvusRestError) as caught:
            client.upsert(ONE, [1])
        assert "hunter2" not in str(caught.value)
        assert len(str(caught.value)) < 500


def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with (
        client_of("127.0.0.1", port=port) as client,
        pytest.raises(e.ConnectError, match=r"refused\. Is Milvus running"),
    ):
        client.list_collections()


def test_no_such_host() -> None:
    with client_of("no-such-host.invalid") as client, pytest.raises(e.ConnectError, match=r"no-such-host\.invalid"):
        client.list_collections()


def test_a_server_that_never_answers(server: ScriptedServer) -> None:
    server.script(COLLECTIONS, Reply(before=lambda: time.sleep(2)))
    with client_of(server.url, extra={"read_timeout": 0.2}) as client:
        with pytest.raises(e.ConnectError, match=r"did not answer within 0\.2 s"):
            client.list_collections()


def test_a_connection_that_breaks(server: ScriptedServer, client: MilvusRestClient) -> None:
    def hang_up() -> None:
        raise ConnectionAbortedError

    server.script(UPSERT, Reply(before=hang_up))
    with pytest.raises(e.ConnectError, match="No connection to"):
        client.upsert(ONE, [1])


def test_an_answer_cut_short(server: ScriptedServer, client: MilvusRestClient) -> None:
    server.script(UPSERT, Reply("{", headers={"Content-Length": "100", "Connection": "close"}))
    with pytest.raises(e.ConnectError):
        client.upsert(ONE, [1])


def test_tls_where_there_is_none(server: ScriptedServer) -> None:
    with client_of(server.url.replace("http:", "https:")) as client:
        with pytest.raises(e.ConnectionSettingsError, match=r"does not use TLS: write .* http:"):
            client.list_collections()


@pytest.mark.parametrize("data", [{"fields": 1}, {"enableDynamicField": False, "fields": [{"name": "a"}]}, [], None])
def test_a_describe_that_cannot_be_read(server: ScriptedServer, client: MilvusRestClient, data: Any) -> None:
    server.script("/v1/vector/collections/describe", Reply({"code": 200, "data": data}))
    with pytest.raises(e.MilvusRestError):
        client.describe_collection("docs")


def test_retryable_says_whether_a_retry_helps() -> None:
    codes = {1: True, 8: True, 9: True, 401: True, 1807: True, 65535: True, 4711: True}
    codes |= dict.fromkeys((100, 101, 800, 1100, 1400, 1401, 1800, 1801, 1802, 1804, 1806, 3000), False)
    assert {code: class_of_answer(200, code).retryable for code in codes} == codes
    statuses = dict.fromkeys((200, 408, 429, 500, 502, 503, 504), True)
    statuses |= dict.fromkeys((301, 307, 400, 401, 403, 404, 405, 413), False)
    assert {status: class_of_answer(status, None).retryable for status in statuses} == statuses


CODES: dict[type[e.MilvusRestError], set[int]] = {
    e.UnexpectedAnswerError: {0, 200},
    e.NotReadyError: {1, 2, 103, 106, 109, 110, 202, 305, 401, 503, 505, 507, 1002, 10000, 10001},
    e.OverloadedError: {3, 4, 7, 8, 9, 11, 12, 1003, 1807},
    e.NotFoundError: {100, 800, 1600},
    e.NotAuthenticatedError: {1400, 1800},
    e.ForbiddenError: {1401},
    e.RequestTooLargeError: {1012, 1102},
    e.DataRefusedError: {1100, 1101, 1700, 1701, 1801, 1802, 1804, 1806},
    e.RequestRefusedError: {
        *(6, 10, 101, 105, 107, 108, 201, 802, 1004, 1005, 1006, 1007, 1009, 1010, 1011),
        *(1303, 1601, 1602, 1603, 2500, 3000),
    },
}
STATUSES: list[tuple[range, type[e.MilvusRestError]]] = [
    (range(200, 300), e.UnexpectedAnswerError),
    (range(300, 400), e.WrongEndpointError),
    (range(400, 500), e.RequestRefusedError),
    (range(500, 600), e.ServerError),
    (range(401, 402), e.NotAuthenticatedError),
    (range(403, 404), e.ForbiddenError),
    (range(404, 406), e.WrongEndpointError),
    (range(408, 409), e.NotReadyError),
    (range(413, 414), e.RequestTooLargeError),
    (range(425, 426), e.NotReadyError),
    (range(429, 430), e.OverloadedError),
    (range(502, 505), e.NotReadyError),
]


def test_what_every_code_and_every_status_means() -> None:
    """A code that Milvus does not have, or that says nothing, leaves it to the status, as a copy of that does."""
    codes = {code: cls for cls, codes in CODES.items() for code in codes}
    statuses = {status: cls for which, cls in STATUSES for status in which}
    for code in (*range(-1, 12_000), 65535):
        assert class_of_answer(200, code) is codes.get(code, e.ServerError), code
        assert class_of_answer(400, code) is codes.get(code, e.RequestRefusedError) or code == 400, code
    for status, cls in statuses.items():
        assert class_of_answer(status, None) is cls, status
        if status >= 300:
            assert class_of_answer(status, status) is class_of_answer(status, 65535) is cls, status


def test_a_proxy_that_leads_nowhere(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://root:hunter2@127.0.0.1:1")
    with client_of("milvus.example.com") as client:
        with pytest.raises(e.ConnectError, match=r"through the proxy in HTTP_PROXY or .* NO_PROXY") as caught:
            client.list_collections()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("http_proxy", "http://root:hunter2/x@proxy")
    with client_of("milvus.example.com") as client:
        with pytest.raises(e.MilvusRestError) as caught:
            client.list_collections()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".com", "mil vus", "\ud800"])
def test_a_host_that_can_be_none(host: str) -> None:
    with pytest.raises(e.ConnectionSettingsError, match="field 'host'"):
        with client_of(host) as client:
            client.list_collections()


def test_only_an_upsert_blames_the_rows(server: ScriptedServer, client: MilvusRestClient) -> None:
    server.script("/v1/vector/collections/describe", Reply({"code": 1100, "message": "Invalid collection name"}))
    with pytest.raises(e.RequestRefusedError) as caught:
        client.describe_collection("no such name!")
    assert type(caught.value) is e.RequestRefusedError
    for path, api_version in [(UPSERT, "v1"), (UPSERT_V2, "v2")]:
        server.script(path, Reply({"code": 1100, "message": "wrong row"}))
        with client_of(server.url, extra={"api_version": api_version}) as other, pytest.raises(e.DataRefusedError):
            other.upsert(ONE, [1])


def test_only_v2_writes_into_partitions(server: ScriptedServer, client: MilvusRestClient) -> None:
    with pytest.raises(e.InputError, match="partition_name is 'p', but REST v1 writes only into the default partition"):
        client.check_partition("p")
    with client_of(server.url, extra={"api_version": "v2"}) as other:
        other.check_partition("p")


def test_what_v2_says_of_a_collection(server: ScriptedServer) -> None:
    """In the form of Milvus 3.0."""
    fields: list[dict[str, Any]] = [
        {"name": "id", "primaryKey": True, "type": "VarChar", "params": [{"key": "max_length", "value": "36"}]},
        {"name": "vector", "type": "Float16Vector", "params": [{"key": "dim", "value": "4"}]},
        {"name": "tags", "type": "Array", "elementType": "VarChar", "nullable": True}
        | {"params": [{"key": "max_length", "value": "8"}, {"key": "max_capacity", "value": "16"}]},
        {"name": "part", "type": "Int64", "partitionKey": True, "defaultValue": {"Data": {"LongData": 5}}},
        {"name": "bm25", "type": "SparseFloatVector", "params": None},
        {"name": "hash", "type": "BinaryVector", "params": [{"key": "dim", "value": "8"}], "isFunctionOutput": True},
        {"name": "$meta", "type": "JSON"},
    ]
    data = {
        "autoId": False,
        "collectionID": 449_000_000_000_000_001,
        "enableDynamicField": True,
        "fields": fields,
        "structFields": [{"name": "chunks", "type": "ArrayOfStruct", "fields": []}],
        "functions": [{"name": "f", "inputFieldNames": ["text"], "outputFieldNames": ["bm25"]}],
    }
    server.script("/v2/vectordb/collections/describe", Reply({"code": 0, "message": "", "data": data}))
    with client_of(server.url, extra={"api_version": "v2"}) as client:
        schema = client.describe_collection("docs", "db")
        data["autoId"] = True
        assert [field.auto_id for field in client.describe_collection("docs").fields_] == [True, *[False] * 6]
    assert [request.json for request in server.requests] == [
        {"collectionName": "docs", "dbName": "db"},
        {"collectionName": "docs"},
    ]
    assert (schema.db_name, schema.dynamic, schema.before_2_3_13) == ("db", True, False)
    assert schema.collection_id == 449_000_000_000_000_001
    assert schema.fields_ == (
        FieldSchema(name="id", type="VarChar", size=36, primary_key=True),
        FieldSchema(name="vector", type="Float16Vector", size=4),
        FieldSchema(name="tags", type="Array", size=8, element_type="VarChar", capacity=16, nullable=True),
        FieldSchema(name="part", type="Int64", partition_key=True, has_default=True),
        FieldSchema(name="bm25", type="SparseFloatVector", function_output=True),
        FieldSchema(name="hash", type="BinaryVector", size=8, function_output=True),
        FieldSchema(name="chunks", type="ArrayOfStruct"),
    )


@pytest.mark.parametrize(("partition_key", "before_2_3_13"), [({}, True), ({"partitionKey": True}, False)])
def test_what_v1_says_of_a_collection(
    server: ScriptedServer, client: MilvusRestClient, partition_key: dict[str, bool], before_2_3_13: bool
) -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "primaryKey": True, "type": "Int64", "autoId": True},
        {"name": "vector", "type": "FloatVector(4)"},
        {"name": "part", "type": "VarChar(20)"} | partition_key,
        {"name": "tags", "type": "Array", "elementType": "Int8"},
        {"name": "$meta", "type": "JSON"},
    ]
    server.script("/v1/vector/collections/describe", Reply({"code": 200, "data": {"fields": fields}}))
    schema = client.describe_collection("docs")
    assert (schema.dynamic, schema.before_2_3_13, schema.collection_id) == (False, before_2_3_13, None)
    assert schema.fields_ == (
        FieldSchema(name="id", type="Int64", primary_key=True, auto_id=True),
        FieldSchema(name="vector", type="FloatVector", size=4),
        FieldSchema(name="part", type="VarChar", size=20, partition_key=not before_2_3_13),
        FieldSchema(name="tags", type="Array", element_type="Int8"),
    )


def test_a_type_parameter_without_a_value(server: ScriptedServer) -> None:
    """Protobuf leaves out what is empty."""
    params = [{"key": "enable_analyzer"}, {"key": "max_length", "value": "8"}]
    field = {"name": "id", "primaryKey": True, "type": "VarChar", "params": params}
    text = {"name": "text", "type": "VarChar", "params": [{"key": "max_length"}]}
    server.script("/v2/vectordb/collections/describe", Reply({"code": 0, "data": {"fields": [field, text]}}))
    with client_of(server.url, extra={"api_version": "v2"}) as client:
        assert [field.size for field in client.describe_collection("docs").fields_] == [8, None]


def test_what_v2_sends_and_takes_for_success(server: ScriptedServer) -> None:
    upserted = {"upsertCount": 1, "upsertIds": [1]}
    server.script(
        UPSERT_V2,
        Reply({"code": 0, "cost": 6, "data": upserted}),
        Reply({"code": 200, "data": upserted}),
        Reply({"code": 200, "message": "partition not found[partition=p]"}),
        Reply({"code": 0}),
    )
    with client_of(server.url, extra={"api_version": "v2"}) as client:
        one = UpsertRequest(collection_name="docs", db_name="db", partition_name="p", data=b'{"id":1}')
        assert client.upsert(one, [1]).upsert_ids == client.upsert(one, [1]).upsert_ids == [1]
        with pytest.raises(e.NotFoundError, match="partition not found"):
            client.upsert(one, [1])
        with pytest.raises(e.MilvusRestError):
            client.upsert(one, [1])
    names = {"collectionName": "docs", "dbName": "db", "partitionName": "p"}
    assert server.requests[0].json == names | {"data": [{"id": 1}]}


def test_a_type_that_is_not_known_yet(server: ScriptedServer, client: MilvusRestClient) -> None:
    fields = [{"name": "id", "primaryKey": True, "type": "Int64"}]
    fields += [{"name": name, "primaryKey": False, "type": name} for name in ("Array(Int8)", "Geometry", "Odd(1,2)")]
    server.script("/v1/vector/collections/describe", Reply({"code": 200, "data": {"fields": fields}}))
    schema = client.describe_collection("docs")
    assert [(field.type, field.size, field.element_type) for field in schema.fields_] == [
        ("Int64", None, None),
        ("Array", None, "Int8"),
        ("Geometry", None, None),
        ("Odd(1,2)", None, None),
    ]
    assert schema.dynamic is False


INTS = CollectionSchema(name="docs", db_name="db", fields_=(FieldSchema(name="key", type="Int64", primary_key=True),))
TEXTS = CollectionSchema(name="docs", fields_=(FieldSchema(name="key", type="VarChar", primary_key=True),))


def test_keys_are_asked_for_some_at_a_time(server: ScriptedServer, client: MilvusRestClient) -> None:
    def get(request: Request) -> Reply:
        return Reply({"code": 200, "data": [{"key": str(key)} for key in request.json["id"] if key % 2]})

    server.script("/v1/vector/get", get)
    assert client.stored_keys(INTS, range(2010)) == {key for key in range(2010) if key % 2}
    assert [len(request.json["id"]) for request in server.requests] == [1000, 1000, 10]
    assert server.requests[2].json == {
        "collectionName": "docs",
        "dbName": "db",
        "outputFields": ["key"],
        "id": [*range(2000, 2010)],
    }


def test_how_keys_that_are_texts_are_asked_for(server: ScriptedServer, client: MilvusRestClient) -> None:
    """By a filter: get writes them into one without escaping them."""
    keys = ['a"b', "\\", "ä\n"]
    server.script("/v1/vector/query", Reply({"code": 200, "data": [{"key": keys[0]}]}))
    assert client.stored_keys(TEXTS, keys) == {keys[0]}
    names = {"collectionName": "docs", "outputFields": ["key"]}
    assert server.requests[0].json == names | {"filter": r'key in ["a\"b", "\\", "ä\n"]', "limit": 3}


def test_how_v2_is_asked_for_keys(server: ScriptedServer) -> None:
    server.script("/v2/vectordb/entities/get", Reply({"code": 0, "data": [{"key": 1}], "cost": 0}))
    server.script("/v2/vectordb/entities/query", Reply({"code": 0, "data": []}))
    with client_of(server.url, extra={"api_version": "v2"}) as client:
        assert client.stored_keys(INTS, [1, 2], "p") == {1}
        assert client.stored_keys(TEXTS, ["1"]) == set()
    more = {"outputFields": ["key"], "consistencyLevel": "Strong"}
    assert [request.json for request in server.requests] == [
        {"collectionName": "docs", "dbName": "db", "id": [1, 2], "partitionNames": ["p"]} | more,
        {"collectionName": "docs", "filter": 'key in ["1"]', "limit": 1} | more,
    ]


@pytest.mark.parametrize("data", [[{"key": 3}], [{"key": float("inf")}], [{"id": 1}], [{"key": None}], [1], 1, None])
def test_what_is_no_answer_about_keys(server: ScriptedServer, client: MilvusRestClient, data: Any) -> None:
    server.script("/v1/vector/get", Reply({"code": 200, "data": data}))
    with pytest.raises(e.UnexpectedAnswerError):
        client.stored_keys(INTS, [1])


@pytest.mark.parametrize(("loaded", "error"), [(False, e.RequestRefusedError), (True, e.NotReadyError)])
def test_keys_of_a_collection_that_is_not_loaded(
    server: ScriptedServer, client: MilvusRestClient, loaded: bool, error: type[Exception]
) -> None:
    """If it was when it was described, Milvus was restarted since."""
    server.script("/v1/vector/get", Reply({"code": 101, "message": "collection not loaded[collection=1]"}))
    with pytest.raises(error) as caught:
        client.stored_keys(INTS.model_copy(update={"is_loaded": loaded}), [1])
    assert isinstance(caught.value, e.MilvusRestError)
    assert caught.value.code == 101
