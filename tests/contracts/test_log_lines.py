"""What clients send gets into the log as text on one line, and only so often."""

import logging

import pytest

from keyside.adapters.log_lines import MOST_LINES, WINDOW_SECONDS, Bounded, LineFormatter, bounded

FORGED = "x\n2026-01-01 INFO keyside: all is well\r\x1b[2J\x00\x85\u2028\u202e"


class Kept(logging.Handler):
    """Keeps the lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(self.format(record))


class Time:
    """A clock that stands still."""

    now = 0.0


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def logger(time: Time, kept: Kept) -> logging.Logger:
    made = logging.Logger("clients")
    made.addFilter(Bounded(lambda: time.now))
    made.addHandler(kept)
    return made


def test_no_character_of_a_client_begins_a_line_or_steers_a_terminal(kept: Kept) -> None:
    plain = logging.Logger("plain")
    plain.addHandler(kept)
    plain.info("a session %s", FORGED)
    assert kept.text == [
        "INFO plain: a session x\\n2026-01-01 INFO keyside: all is well\\r\\x1b[2J\\x00\\x85\\u2028\\u202e"
    ]


def test_the_lines_of_a_traceback_are_indented(kept: Kept) -> None:
    plain = logging.Logger("plain")
    plain.addHandler(kept)
    try:
        raise ValueError(FORGED)
    except ValueError:
        plain.exception("it failed\n")
    first, *rest = kept.text[0].split("\n")
    assert first == "ERROR plain: it failed"
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert len(kept.text[0].splitlines()) == len(rest) + 1


def test_one_place_writes_a_few_lines_and_then_says_how_many_it_left_out(
    logger: logging.Logger, kept: Kept, time: Time
) -> None:
    def complain() -> None:
        logger.warning("wrong: %s", "x")

    for _ in range(1000):
        complain()
    assert kept.text[:-1] == ["WARNING clients: wrong: x"] * (MOST_LINES - 1)
    assert kept.text[-1] == "WARNING clients: wrong: x (more of these are only counted for up to 60 s)"
    time.now += WINDOW_SECONDS
    complain()
    complain()
    assert kept.text[MOST_LINES:] == [
        "WARNING clients: wrong: x (before this, 990 more were left out)",
        "WARNING clients: wrong: x",
    ]


def test_what_one_place_writes_hides_nothing_of_another(logger: logging.Logger, kept: Kept) -> None:
    for _ in range(1000):
        logger.warning("noise")
    logger.error("a fault")
    assert kept.text[-1] == "ERROR clients: a fault"


def test_such_a_line_is_short_however_much_a_client_sends(logger: logging.Logger, kept: Kept) -> None:
    logger.warning("wrong: %s", "\n" * 100_000)
    assert len(kept.text[0]) < 400


def test_a_logger_is_bounded_once() -> None:
    assert bounded("keyside.tests.clients") is bounded("keyside.tests.clients")
    assert len(bounded("keyside.tests.clients").filters) == 1
