"""The table of all errors that users and programs can get: code, message, whether to retry, and HTTP status."""

from dataclasses import dataclass

from keyside.protocol.entities import Failure


@dataclass(frozen=True)
class ErrorKind:
    """A row of the table of errors."""

    message: str
    retryable: bool
    status: int


ERRORS: dict[str, ErrorKind] = {
    # asking
    "bad_request": ErrorKind("The request is not of the form that this call takes.", False, 400),
    "unauthorized": ErrorKind("Sign in first: open a sign-in link, or send an API token.", False, 401),
    "link_invalid": ErrorKind(
        "This sign-in link was used already or is too old. Make another with `keyside link`, or with "
        "'Add a device' in a browser that is signed in.",
        False,
        401,
    ),
    "forbidden": ErrorKind("This token does not have the scope that is needed here.", False, 403),
    "bad_origin": ErrorKind(
        "The request came from another origin than the server's own. Open the address that it printed at "
        "its start, or set KEYSIDE_PUBLIC_URL.",
        False,
        403,
    ),
    "bad_host": ErrorKind(
        "This server does not answer under that host name. Open the address that it printed at its start, "
        "or set KEYSIDE_PUBLIC_URL.",
        False,
        421,
    ),
    "not_found": ErrorKind("There is nothing here under that id.", False, 404),
    "conflict": ErrorKind("This id is taken by something else.", False, 409),
    "message_running": ErrorKind("This message is still being written. Stop it first.", False, 409),
    "too_large": ErrorKind("This is larger than the server takes.", False, 413),
    "too_many_attempts": ErrorKind("Too many attempts. Wait a minute and try again.", True, 429),
    "too_slow": ErrorKind("The request arrived too slowly. Try again on a better connection.", True, 408),
    "slow_down": ErrorKind("This is more at once than the server takes. Wait a second and try again.", True, 429),
    "too_many_connections": ErrorKind(
        "This account has as many connections or requests open as the server takes. Close some of them.", True, 429
    ),
    "server_busy": ErrorKind(
        "The server has as many large requests in hand as it takes. Try again in a few seconds.", True, 503
    ),
    "internal": ErrorKind("Something went wrong in the server. Its log says more.", True, 500),
    # the socket
    "protocol_unsupported": ErrorKind("This server speaks protocol version 1.", False, 400),
    "websocket_required": ErrorKind("An executor must connect by WebSocket, not by polling.", False, 400),
    "too_many_open": ErrorKind("This socket has as many chats open as it may. Close some of them.", False, 429),
    "unknown_event": ErrorKind("The server does not know this event.", False, 404),
    "executor_taken": ErrorKind("Another executor has this id, with another secret.", False, 403),
    "too_many_executors": ErrorKind(
        "You have as many devices as the server keeps, and all of them are connected. Disconnect one that you do not "
        "need.",
        False,
        409,
    ),
    "not_ready": ErrorKind("Send `executor:ready` first.", True, 409),
    "not_yours": ErrorKind("This channel belongs to another connection.", False, 403),
    "not_started": ErrorKind("Claim the run with an empty frame first.", False, 409),
    "stale_attempt": ErrorKind("The run has gone to another attempt.", False, 409),
    "run_ended": ErrorKind("The run has ended.", False, 409),
    "gap": ErrorKind("Lines are missing before this frame: resend from `expected`.", True, 409),
    "store_unavailable": ErrorKind("The server cannot store at the moment; nothing was kept.", True, 503),
    "shutting_down": ErrorKind("The server is about to restart. Try again in a few seconds.", True, 503),
    # how a run can end
    "model_not_found": ErrorKind("None of your devices offers this model. Add a connection for it.", False, 404),
    "no_executor": ErrorKind("No device that can run this model is connected.", True, 503),
    "session_gone": ErrorKind("You have no connected session of this id.", False, 404),
    "callback_timeout": ErrorKind("The device did not answer the call in time.", True, 504),
    "executor_refused": ErrorKind("The device refused the call.", False, 502),
    "executor_silent": ErrorKind("The device is connected but has sent nothing for too long.", True, 504),
    "executor_lost": ErrorKind("The device went away in mid-answer and did not come back.", True, 504),
    "first_line_timeout": ErrorKind("The model did not begin to answer in time.", True, 504),
    "upstream_silent": ErrorKind("The model began to answer and then sent nothing for too long.", True, 504),
    "caller_gone": ErrorKind("Nobody waited for the answer any more.", True, 499),
    "run_timeout": ErrorKind("The answer took longer than the server allows.", False, 504),
    "line_too_long": ErrorKind("The upstream sent a line of more than 1 MiB.", False, 502),
    "lines_forgotten": ErrorKind("The server lost lines that the device does not have any more.", False, 502),
    "upstream_truncated": ErrorKind("The upstream ended before the answer was complete.", True, 502),
    "deleted": ErrorKind("The message was deleted while it was being written.", False, 410),
    # what an executor found upstream
    "upstream_error": ErrorKind("The upstream answered with an error.", True, 502),
    "upstream_unreachable": ErrorKind(
        "The upstream cannot be reached: it is not running, the address is wrong, it does not let browsers "
        "in (CORS), or the key is wrong and its refusal cannot be read from a browser.",
        True,
        502,
    ),
    "upstream_unauthorized": ErrorKind("The upstream refused the key. Check it in the connection.", False, 502),
    "upstream_model_not_found": ErrorKind("The upstream does not know this model.", False, 502),
    "upstream_rate_limited": ErrorKind("The upstream asks to slow down, or the account is out of credit.", True, 502),
    "upstream_not_a_stream": ErrorKind(
        "The upstream answered with something that is not a model's answer, such as a web page. Check the base URL.",
        False,
        502,
    ),
    "connection_unknown": ErrorKind("The device does not have this connection any more.", True, 502),
    "key_unavailable": ErrorKind("The device cannot read its key for this connection. Enter it again.", True, 502),
    "not_an_executor": ErrorKind("This connection shows chats and runs no models.", True, 502),
    "executor_busy": ErrorKind("The device has as many runs as it takes.", True, 502),
    "executor_closing": ErrorKind("The device is about to close and takes no new run.", True, 502),
}


class KeysideError(Exception):
    """An error of the table. The HTTP and socket handlers turn it into their own kind of answer.

    `detail` replaces the table's message with one that says more.
    """

    def __init__(self, code: str, detail: str | None = None) -> None:
        self.code = code
        self.kind = ERRORS[code]
        super().__init__(detail or self.kind.message)

    @property
    def failure(self) -> Failure:
        """The error as it is sent to clients."""
        return Failure(code=self.code, message=str(self), retryable=self.kind.retryable)


def failure(code: str, detail: str | None = None) -> Failure:
    """The `Failure` of an error of the table, as it is sent to clients."""
    return KeysideError(code, detail).failure
