"""The errors of this package: one class for each case that a user would handle differently.

``retryable`` says whether the same call may succeed later. If it is False, a retry does not help: the hook and the
operator raise a subclass that is also an :class:`~airflow.exceptions.AirflowFailException`, so that Airflow does not
use the task's retries on it. An ``except`` clause for a class below catches this, too. Airflow 3.3's retry policies
only see the retryable ones.

No message contains a password, a token or a whole vector; what a server sent is cut to 300 characters.
"""

from typing import ClassVar

from airflow_provider_milvus_rest.text import shown


class MilvusRestError(Exception):
    """Base of all errors of this package.

    :param message: what is wrong, where, and what to do about it.
    :param code: Milvus's own error code from the response's body, if it has one.
    :param http_status: the HTTP status, if there was a response.
    :param retry_after: how many seconds the server asks to wait before the next request, if it does.
    """

    retryable: ClassVar[bool] = False
    timed_out: bool = False
    """Whether Milvus may still apply the request, because it timed out or its response was lost."""

    def __init_subclass__(cls, *, retryable: bool | None = None) -> None:
        super().__init_subclass__()
        if retryable is not None:
            cls.retryable = retryable

    def __init__(
        self, message: str, *, code: int | None = None, http_status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message.encode(errors="backslashreplace").decode())  # Airflow writes its log in UTF-8
        self.code, self.http_status, self.retry_after = code, http_status, retry_after

    def __str__(self) -> str:
        where = [f"Milvus code {self.code}"] if self.code is not None else []
        if self.http_status is not None and (self.code is None or self.http_status != 200):
            where.append(f"HTTP {self.http_status}")
        return super().__str__() + (f" [{', '.join(where)}]" if where else "")


class ConnectionSettingsError(MilvusRestError, ValueError):
    """A field of the Airflow connection has a value that cannot be used."""


class InputError(MilvusRestError, ValueError):
    """An argument, a file or a row is not valid.

    :param position: where: ``path:line``, ``path[index]`` or ``[index]``; None for an argument.
    """

    def __init__(self, message: str, *, position: str | None = None) -> None:
        super().__init__(f"{position}: {message}" if position else message)
        self.position = position


class RowError(InputError):
    """A row cannot be stored exactly as it is.

    :param reason: why, as in the rejects file.
    :param field: the invalid field, if a single field is the cause.
    :param key: the row's primary key, if it has one.
    :param code: Milvus's code, if the server refused the row.
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


class SourceNotFoundError(InputError, retryable=True):
    """A file or folder does not exist, or a glob matches nothing. A retry helps if the file arrives late."""


class RowsRejectedError(MilvusRestError):
    """More rows are rejected than allowed. The message names the first ones."""


class RowsDifferError(MilvusRestError):
    """Rows are stored with different values than in the source, or not at all. The message names the first ones."""


class SourceUnavailableError(InputError, retryable=True):
    """A storage does not respond, or denies access. Check the storage's connection."""


class SourceChangedError(InputError, retryable=True):
    """A file changed while it was being read, so its rows may be from different versions. A retry reads it again."""


class UnsupportedCollectionError(MilvusRestError):
    """The collection cannot be upserted into or compared, whatever the rows are (autoID, for example)."""


class ConnectError(MilvusRestError, retryable=True):
    """There is no connection, or it broke or timed out. A write may have been applied."""


class WrongEndpointError(MilvusRestError):
    """Something responds, but not the API that was called (404, a redirect)."""


class UnexpectedAnswerError(MilvusRestError, retryable=True):
    """The response is empty, cut short, or not what Milvus sends. A write may have been applied."""


class StoppedError(MilvusRestError, retryable=True):
    """The task was stopped before everything was sent. A retry sends the rest, or all of it again."""


class NotAuthenticatedError(MilvusRestError):
    """Login, password or API key are missing or wrong."""


class ForbiddenError(MilvusRestError):
    """The user is known, but lacks a privilege."""


class NotFoundError(MilvusRestError):
    """The collection, partition or database does not exist."""


class RequestRefusedError(MilvusRestError):
    """The server refuses this request, for a reason other than its rows."""


class DataRefusedError(MilvusRestError):
    """The server refuses the rows. None of the request's rows was written."""


class RequestTooLargeError(DataRefusedError):
    """The request is too large for the server or for a gateway: lower ``max_request_bytes``."""


class NotReadyError(MilvusRestError, retryable=True):
    """The server or a gateway is starting, recovering or unavailable. After HTTP 408, 502 or 504, or code 10001, a
    write may still be applied."""


class OverloadedError(MilvusRestError, retryable=True):
    """A rate limit, a quota or a memory limit is reached. Send less, or later."""


class ServerError(MilvusRestError, retryable=True):
    """Any other failure inside the server."""
