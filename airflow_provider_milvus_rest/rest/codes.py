"""Maps a response to the exception to raise.

HTTP statuses and the ``code`` in a body are separate namespaces: the body codes 401 (replica not available) and 503
(channel not available) are Milvus's own. Codes: ``pkg/util/merr/errors.go`` of Milvus 2.3.2 to 3.0.
"""

from airflow_provider_milvus_rest import exceptions as e

_CODES: dict[type[e.MilvusRestError], tuple[int, ...]] = {
    e.NotAuthenticatedError: (1400, 1800),
    e.ForbiddenError: (1401,),
    e.NotFoundError: (100, 800, 1600),
    e.DataRefusedError: (1100, 1101, 1700, 1701, 1801, 1802, 1804, 1806),
    e.RequestTooLargeError: (1012, 1102),
    e.NotReadyError: (1, 2, 103, 106, 109, 110, 202, 305, 401, 503, 505, 507, 1002, 10000, 10001),
    e.OverloadedError: (3, 4, 7, 8, 9, 11, 12, 1003, 1807),
    e.RequestRefusedError: (
        *(6, 10, 101, 105, 107, 108, 201, 802, 1004, 1005, 1006, 1007, 1009, 1010, 1011),
        *(1303, 1601, 1602, 1603, 2500, 3000),
    ),
    e.UnexpectedAnswerError: (0, 200),  # success, but without data
}
_CLASS_OF_CODE = {code: cls for cls, codes in _CODES.items() for code in codes}

CHECK_PORT = "Check that host and port are those of Milvus's REST API (19530, not 9091)."
REMEDIES: dict[type[e.MilvusRestError], str] = {
    e.NotAuthenticatedError: "Check login and password of the connection (for an API key, set only the password).",
    e.ForbiddenError: "Grant the missing privilege to the connection's user.",
    e.NotFoundError: "Create it first, or check its name and the database.",
    e.UnexpectedAnswerError: "If this continues, check that host and port are those of Milvus's REST API.",
    e.WrongEndpointError: f"{CHECK_PORT} In a newer Milvus, REST v1 may be disabled (proxy.http.enableV1): then set "
    "the connection's field api_version to v2. Milvus before 2.3.13 has no v2.",
}
"""What to do, unless :data:`_BY_MESSAGE` is more specific."""

_V2 = "set the connection's field api_version to v2."
_STRUCTS = "This package cannot write arrays of structs: create the collection without them."
_BY_MESSAGE: dict[tuple[int, str], tuple[type[e.MilvusRestError], str | None]] = {
    (800, "database"): (e.NotFoundError, "Create it first, or check its name."),
    (200, "partition not found"): (e.NotFoundError, None),
    (1807, "partition not found"): (e.NotFoundError, None),
    (65535, "not support manually specifying the partition names if partition key mode is used"): (
        e.RequestRefusedError,
        "Before 2.3.13, Milvus's REST API cannot write into a collection with a partition key: use Milvus 2.3.13 or "
        "later.",
    ),
    (1100, "namespace data is not set but namespace enabled"): (
        e.RequestRefusedError,
        "Milvus's REST API cannot write into a collection with namespaces: create it without namespaces.",
    ),
    (1100, "the number of struct array fields is not the same as needed"): (e.RequestRefusedError, _STRUCTS),
    (1804, "missing struct array field"): (e.RequestRefusedError, _STRUCTS),  # 3.0, over v1
    (1100, "the length of valid_data of field"): (  # 2.5.0 to 2.6.11: every row
        e.RequestRefusedError,
        "REST v1 of this Milvus refuses every row of a collection in which a field is nullable or has a default: "
        f"{_V2}",
    ),
    (1100, "the length of field is wrong"): (  # 2.6.2 to 2.6.17: rows with nulls
        e.DataRefusedError,
        f"REST v1 of this Milvus cannot store a null, or the default for a value that is omitted: {_V2}",
    ),
}
"""What a code means if its message contains this text, and what to do about it."""

_STATUSES: dict[type[e.MilvusRestError], tuple[int, ...]] = {
    e.NotAuthenticatedError: (401,),
    e.ForbiddenError: (403,),
    e.WrongEndpointError: (*range(300, 400), 404, 405),
    e.RequestTooLargeError: (413,),
    e.OverloadedError: (429,),
    e.NotReadyError: (408, 425, 502, 503, 504),
}
_CLASS_OF_STATUS = {status: cls for cls, statuses in _STATUSES.items() for status in statuses}


def class_of_answer(status: int, code: int | None = None) -> type[e.MilvusRestError]:
    """The body's ``code`` decides, unless it is 5, 65535, unknown, or a copy of the status."""
    if code in _CLASS_OF_CODE and not (code == status and status >= 300):
        return _CLASS_OF_CODE[code]
    if status < 300:
        return e.UnexpectedAnswerError if code is None else e.ServerError
    return _CLASS_OF_STATUS.get(status) or (e.RequestRefusedError if status < 500 else e.ServerError)


def class_of_message(code: int, message: str) -> tuple[type[e.MilvusRestError], str | None] | None:
    """Return the exception and the remedy if the message is more specific than the code."""
    return next((found for (known, part), found in _BY_MESSAGE.items() if code == known and part in message), None)
