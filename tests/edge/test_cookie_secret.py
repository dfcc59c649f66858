"""What signs the cookies: a file that others cannot read, or a setting; and neither is in a backup."""

import os
import shutil
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from keyside.adapters.secret_file import BadSecret, secret_of
from keyside.app import MemoryStore, create_app
from keyside.settings import BadSettings, Settings, load
from tests.edge.test_cli import keyside, said
from tests.edge.test_serve import redeem, serving


def signed_in(url: str, cookies: httpx.Cookies) -> bool:
    return httpx.get(f"{url}/api/auth/me", cookies=dict(cookies)).status_code == 200


def test_the_file_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with ThreadPoolExecutor(8) as pool:
            made = set(pool.map(lambda _: secret_of(tmp_path), range(8)))
    finally:
        os.umask(before)
    assert made == {secret_of(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert len(made.pop()) >= 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    secret = secret_of(tmp_path)
    (tmp_path / "secret").chmod(mode)
    ran = said(keyside(tmp_path, "serve", "--port", "0", "--data-dir", str(tmp_path)), 1)
    assert "Others on this machine can read or change" in ran
    assert "chmod 600" in ran
    assert secret.decode() not in ran


@pytest.mark.parametrize("content", [b"", b"\n" * 100, b"short", b"x" * 31])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(BadSecret, match="holds no secret"):
        secret_of(tmp_path)
    assert (tmp_path / "secret").read_bytes() == content


def test_a_backup_is_no_sign_in(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with serving(here) as server:
        cookies = redeem(server.second_line.rpartition(" ")[2]).cookies
        assert keyside(tmp_path, "backup", str(there / "keyside.db"), "--data-dir", str(here)).returncode == 0
        assert signed_in(server.url, cookies)
    content = (there / "keyside.db").read_bytes()
    value = cookies["keyside_session"].partition(".")[0]
    for secret in (value, (here / "secret").read_text().strip()):
        assert secret.encode() not in content
    with closing(sqlite3.connect(there / "keyside.db")) as database:
        assert database.execute("SELECT count(*) FROM signin").fetchone() == (1,)
        assert [key for (key,) in database.execute("SELECT key FROM meta")] == ["url"]
    with serving(there) as server:
        assert not signed_in(server.url, cookies)
        server.end()
    shutil.copy(here / "secret", there / "secret")
    with serving(there) as server:
        assert signed_in(server.url, cookies)


def test_the_secret_may_come_from_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = os.urandom(16).hex()
    (tmp_path / ".env").write_text(f"KEYSIDE_SECRET={secret}\n")
    with serving(tmp_path) as server:
        cookies = redeem(server.second_line.rpartition(" ")[2]).cookies
        server.end()
    assert not (tmp_path / "secret").exists()
    with serving(tmp_path) as server:
        assert signed_in(server.url, cookies)
        server.end()
    (tmp_path / ".env").unlink()
    with serving(tmp_path) as server:
        assert not signed_in(server.url, cookies)


def test_a_secret_that_is_too_short_is_refused_and_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = "canary-" + os.urandom(8).hex(), "canary-" + os.urandom(16).hex()
    monkeypatch.setenv("KEYSIDE_SECRET", short)
    with pytest.raises(BadSettings, match=r"^KEYSIDE_SECRET: it must have at least 32 characters\.$"):
        load()
    monkeypatch.setenv("KEYSIDE_SECRET", long)
    assert "canary" not in f"{load()!r} {load()} {load().model_dump()}"


def test_a_server_in_memory_leaves_no_file(tmp_path: Path) -> None:
    create_app(Settings(data_dir=tmp_path / "data"), store=MemoryStore(), static=tmp_path)
    assert list(tmp_path.iterdir()) == []
