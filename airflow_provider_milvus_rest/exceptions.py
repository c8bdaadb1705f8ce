"""What can go wrong, one class per thing that a user would do differently.

``retryable`` says whether the same call may succeed later. Where it is False, the hook and the operator raise a
class that is also an :class:`~airflow.exceptions.AirflowFailException`, so that Airflow does not spend the task's
retries on it; an ``except`` clause may name the classes below either way. Airflow 3.3's retry policies see the
retryable ones alone.

No message ever holds a password, a token or a whole vector; what a server sent is cut to :data:`EXCERPT_CHARS`.
"""

from __future__ import annotations

from typing import Any, ClassVar

EXCERPT_CHARS = 300


def excerpt(text: str, limit: int = EXCERPT_CHARS) -> str:
    """``text`` on one line, at most ``limit`` characters of it."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def shown(value: Any, limit: int = 40) -> str:
    """A value for a message, at most ``limit`` characters of it."""
    try:
        return excerpt(repr(value), limit)
    except Exception:  # of a class of the user's, or an int of more than 4,300 digits, of which Python writes none
        return f"an int of {value.bit_length()} bits" if isinstance(value, int) else "of a kind that cannot be shown"


def name_of(key: Any) -> str:
    """A field's name, or a message's words for what is none."""
    return str.__str__(key) if isinstance(key, str) else shown(key)


class MilvusRestError(Exception):
    """Base of all errors of this package.

    :param message: what is wrong, where, and what to do about it.
    :param code: Milvus's own error code from the answer's body, if there was one.
    :param http_status: the HTTP status, if there was an answer.
    :param retry_after: seconds after which the server asks to be asked again, if it does.
    """

    retryable: ClassVar[bool] = False
    timed_out: bool = False
    """Whether somebody stopped waiting, so that the request may still be applied later."""

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.http_status = http_status
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = []
        if self.code is not None:
            where.append(f"Milvus code {self.code}")
        if self.http_status is not None and (self.code is None or self.http_status != 200):
            where.append(f"HTTP {self.http_status}")
        message = super().__str__()
        return f"{message} [{', '.join(where)}]" if where else message


# -- before anything is sent ------------------------------------------------------------------------------------


class ConnectionSettingsError(MilvusRestError, ValueError):
    """The Airflow connection holds a value that cannot be used. A retry does not help."""


class InputError(MilvusRestError, ValueError):
    """An argument, a file or a row is not what it has to be. A retry does not help.

    :param position: where: ``path:line``, ``path[index]`` or ``[index]``; None for an argument.
    """

    def __init__(self, message: str, *, position: str | None = None) -> None:
        super().__init__(f"{position}: {message}" if position else message)
        self.position = position


class RowError(InputError):
    """A row cannot be stored exactly as it is. A retry does not help.

    :param reason: why, as the rejects file says it.
    :param field: the field at fault, if it is one.
    :param key: the row's primary key, if it has one.
    :param code: Milvus's code, if it was the server that refused the row.
    """

    def __init__(
        self,
        reason: str,
        *,
        position: str | None = None,
        field: str | None = None,
        key: int | str | None = None,
        code: int | None = None,
    ) -> None:
        super().__init__(f"field {shown(field, 255)} {reason}" if field else reason, position=position)
        self.reason, self.field, self.key, self.code = reason, field, key, code


class SourceNotFoundError(InputError):
    """A file or folder does not exist, or a glob matches nothing. A retry helps if it arrives late."""

    retryable = True


class RowsRejectedError(MilvusRestError):
    """More rows are rejected than may be; names the first ones. A retry does not help."""


class SourceUnavailableError(InputError):
    """A storage does not answer, or refuses. A retry may help; check the storage's connection."""

    retryable = True


class SourceChangedError(InputError):
    """A file was written to while it was read, so that its rows are of no one version. A retry reads it again."""

    retryable = True


class UnsupportedCollectionError(MilvusRestError):
    """Rows cannot be upserted into this collection, whatever they are (autoID). A retry does not help."""


# -- the way to the server --------------------------------------------------------------------------------------


class ConnectError(MilvusRestError):
    """Nothing answers, or the connection broke or timed out. A retry may help; a write may have been applied."""

    retryable = True


class WrongEndpointError(MilvusRestError):
    """Something answers, but not the API that was asked for (404, a redirect). A retry does not help."""


class UnexpectedAnswerError(MilvusRestError):
    """The answer is empty, cut short, or not what Milvus sends. A retry may help; a write may have been applied."""

    retryable = True


class StoppedError(MilvusRestError):
    """The task was told to end before everything was sent. A retry does the rest, or all of it again."""

    retryable = True


# -- what the server said ---------------------------------------------------------------------------------------


class NotAuthenticatedError(MilvusRestError):
    """Login, password or API key are missing or wrong. A retry does not help."""


class ForbiddenError(MilvusRestError):
    """The user is known, but lacks the privilege. A retry does not help."""


class NotFoundError(MilvusRestError):
    """The collection or the database does not exist. A retry does not help."""


class RequestRefusedError(MilvusRestError):
    """The server refuses this request, for a reason that is not in the rows. A retry does not help."""


class DataRefusedError(MilvusRestError):
    """The server refuses the rows; none of the request's rows was written. A retry does not help."""


class RequestTooLargeError(DataRefusedError):
    """The request is too large for the server or a gateway before it: lower ``max_request_bytes``."""


class NotReadyError(MilvusRestError):
    """The server or a gateway before it is starting, recovering or gone for a moment, or has given up (HTTP 408, code
    10001), in which case a write may have been applied. A retry helps."""

    retryable = True


class OverloadedError(MilvusRestError):
    """A rate limit, quota or memory limit. A retry helps once the pressure is off: send less, or later."""

    retryable = True


class ServerError(MilvusRestError):
    """Any other failure inside the server. A retry may help, or not."""

    retryable = True
