"""The commands that need no server: what they print, where they store, and how they fail."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from keyside import __version__
from keyside.adapters.sql.database import DataDirectoryLock

PROGRAM = [sys.executable, "-W", "error", "-m", "keyside"]
Ran = subprocess.CompletedProcess[str]


def keyside(cwd: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Ran:
    """Runs a command in an environment of its own, with `cwd` as home."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KEYSIDE_", "XDG_"))}
    clean = {**clean, "HOME": str(cwd), **(env or {})}
    return subprocess.run(
        [*PROGRAM, *arguments], cwd=cwd, env=clean, capture_output=True, text=True, timeout=60, check=False
    )


def said(ran: Ran, exit_code: int) -> str:
    """The one sentence of a failure."""
    assert ran.returncode == exit_code, ran.stderr
    assert ran.stdout == ""
    assert ran.stderr.startswith("keyside: ")
    assert ran.stderr.count("\n") == 1
    return ran.stderr


def test_the_version_is_printed_alone(tmp_path: Path) -> None:
    assert keyside(tmp_path, "version").stdout == f"{__version__}\n"


def test_the_command_line_does_not_wait_for_the_server_to_load(tmp_path: Path) -> None:
    code = "import sys, keyside.cli; print({'fastapi', 'sqlalchemy', 'pydantic', 'uvicorn'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "set()\n"


def test_a_link_is_made_before_the_first_start(tmp_path: Path) -> None:
    ran = keyside(tmp_path, "link")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("http://127.0.0.1:8000/#signin=")
    data_dir = tmp_path / ".local" / "share" / "keyside"
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((data_dir / "keyside.db").stat().st_mode) == 0o600


def test_a_link_names_the_public_url(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEYSIDE_PUBLIC_URL=https://chat.example.org/\nOTHER=1\n")
    assert keyside(tmp_path, "link", "--data-dir", "here").stdout.startswith("https://chat.example.org/#signin=")
    assert (tmp_path / "here" / "keyside.db").is_file()


def test_a_token_is_printed_alone_and_stored_as_a_hash_only(tmp_path: Path) -> None:
    env = {"KEYSIDE_DATA_DIR": str(tmp_path)}
    ran = keyside(tmp_path, "token", "create", "--name", "tool", "--scope", "chats", "--scope", "api", env=env)
    token = ran.stdout.strip()
    assert ran.stdout == f"{token}\n"
    assert token.startswith("ks_")
    database = sqlite3.connect(tmp_path / "keyside.db")
    assert database.execute("select name, scopes from token").fetchall() == [("tool", "api chats")]
    database.close()
    assert token.encode() not in (tmp_path / "keyside.db").read_bytes()


def test_links_and_tokens_are_made_while_the_directory_is_in_use(tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path)
    for command in (["link"], ["token", "create", "--name", "x"], ["migrate"]):
        assert keyside(tmp_path, *command, "--data-dir", str(tmp_path)).returncode == 0
    lock.release()


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["serve", "--prot", "3"], ["serve", "--port", "x"], ["token", "create"]],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    ran = keyside(tmp_path, *arguments)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def test_a_scope_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    ran = keyside(tmp_path, "token", "create", "--name", "x", "--scope", "nonsense", "--data-dir", str(tmp_path))
    assert "scopes are some of api, chats" in said(ran, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0", "--auth", "off"], "KEYSIDE_AUTH=off lets in whoever reaches the server"),
        (["--host", "0.0.0.0"], "set KEYSIDE_PUBLIC_URL"),
        (["--auth", "maybe"], "KEYSIDE_AUTH cannot be 'maybe'"),
        (["--port", "65536"], "KEYSIDE_PORT cannot be '65536'"),
        (["--public-url", "chat.example.org"], "KEYSIDE_PUBLIC_URL: 'chat.example.org' is not an address"),
        (["--tls-cert", "cert.pem"], "must be set together"),
    ],
)
def test_a_server_does_not_start_with_a_wrong_setting(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in said(keyside(tmp_path, "serve", *arguments), 2)


def test_a_server_does_not_start_with_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("nonsense")
    ran = keyside(tmp_path, "serve", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    assert "key.pem is not there" in said(ran, 1)
    (tmp_path / "key.pem").write_text("nonsense")
    ran = keyside(tmp_path, "serve", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    assert "no matching pair" in said(ran, 1)


def test_a_database_that_is_none_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "keyside.db").write_bytes(b"nonsense" * 1000)
    ran = keyside(tmp_path, "link", "--data-dir", str(tmp_path))
    assert "The database cannot be used: file is not a database." in said(ran, 1)


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    assert keyside(tmp_path, "migrate", "--data-dir", str(tmp_path)).returncode == 0
    database = sqlite3.connect(tmp_path / "keyside.db")
    with database:
        database.execute("update alembic_version set version_num = '9999'")
    database.close()
    assert "newer version" in said(keyside(tmp_path, "link", "--data-dir", str(tmp_path)), 1)


def test_a_data_directory_that_is_a_file_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be used" in said(keyside(tmp_path, "link", "--data-dir", "file"), 1)


def test_the_companion_needs_node(tmp_path: Path) -> None:
    assert "runs on Node" in said(keyside(tmp_path, "executor", "--help", env={"PATH": "nowhere"}), 1)
