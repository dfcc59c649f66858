"""A seeded minute of nonsense at every door of a server with the transport 'stock'."""

from pathlib import Path

from tests.fuzz.doors.campaign import Size, attack


async def test_whatever_is_sent_breaks_nothing_and_tells_nothing(tmp_path: Path) -> None:
    result = await attack(tmp_path, "stock", seed=1, size=Size())
    assert result.wrong == [], result.line
