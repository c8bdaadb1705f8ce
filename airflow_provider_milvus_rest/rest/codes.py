"""From what the server answered to the exception to raise.

HTTP statuses and the ``code`` in a body are two namespaces: a body code 401 (replica not available) or 503
(channel not available) is Milvus's own number. Codes: ``pkg/util/merr/errors.go`` of Milvus 2.3.2 to 3.0.
"""

from __future__ import annotations

from airflow_provider_milvus_rest import exceptions as e

_CODES: dict[type[e.MilvusRestError], tuple[int, ...]] = {
    e.NotAuthenticatedError: (1400, 1800),
    e.ForbiddenError: (1401,),
    e.NotFoundError: (100, 200, 800, 1600),
    e.DataRefusedError: (1100, 1101, 1700, 1701, 1801, 1802, 1804, 1806),
    e.RequestTooLargeError: (1012, 1102),
    e.NotReadyError: (1, 2, 103, 106, 109, 110, 202, 305, 401, 503, 505, 507, 1002, 10000, 10001),
    e.OverloadedError: (3, 4, 7, 8, 9, 11, 12, 1003, 1807),
    e.RequestRefusedError: (
        *(6, 10, 101, 105, 107, 108, 201, 802, 1004, 1005, 1006, 1007, 1009, 1010, 1011),
        *(1303, 1601, 1602, 1603, 2500, 3000),
    ),
}
_CLASS_OF_CODE = {code: cls for cls, codes in _CODES.items() for code in codes}

_CLASS_OF_STATUS: dict[int, type[e.MilvusRestError]] = {
    401: e.NotAuthenticatedError,
    403: e.ForbiddenError,
    404: e.WrongEndpointError,
    405: e.WrongEndpointError,
    408: e.NotReadyError,
    413: e.RequestTooLargeError,
    425: e.NotReadyError,
    429: e.OverloadedError,
    502: e.NotReadyError,
    503: e.NotReadyError,
    504: e.NotReadyError,
}


def class_of_code(code: int) -> type[e.MilvusRestError]:
    """The exception for a body's ``code``; codes that say nothing certain (5, 65535, unknown) are ServerError."""
    return _CLASS_OF_CODE.get(code, e.ServerError)


def class_of_status(status: int) -> type[e.MilvusRestError]:
    """The exception for an HTTP status whose body has no telling ``code``."""
    if status in _CLASS_OF_STATUS:
        return _CLASS_OF_STATUS[status]
    if status < 300:
        return e.UnexpectedAnswerError
    if status < 400:
        return e.WrongEndpointError
    return e.RequestRefusedError if status < 500 else e.ServerError


def class_of_answer(status: int, code: int | None) -> type[e.MilvusRestError]:
    """Statuses 401 and 403 come first: Milvus sends 403 with the catch-all code 65535. Then the code decides."""
    if status in (401, 403) or code is None:
        return class_of_status(status)
    cls = class_of_code(code)
    return class_of_status(status) if cls is e.ServerError and status >= 300 else cls
