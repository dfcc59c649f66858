"""`keyside serve` as a process: what it says, what it takes, and how it ends."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.edge.test_cli import PROGRAM, keyside, said

PAIR = Path(__file__).with_name("localhost.pem")


@dataclass
class Running:
    """A server, what it printed until it was ready, and where it is."""

    process: subprocess.Popen[str]
    url: str
    second_line: str

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends the server. Returns its exit code and its log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


@contextmanager
def serving(data_dir: Path, *options: str) -> Iterator[Running]:
    """A server on a free port."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYSIDE_")}
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--no-browser", "--data-dir", str(data_dir), *options],
        env=clean,
        cwd=data_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        ready = re.fullmatch(r"Keyside is ready at (https?://\S+:\d+)\n", first)
        assert ready, first + process.communicate(timeout=30)[1]
        yield Running(process, ready[1], process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate(timeout=30)


def redeem(url: str, verify: bool = True) -> httpx.Response:
    """Opens a sign-in link as the page does."""
    origin, _, code = url.partition("/#signin=")
    return httpx.post(f"{origin}/api/auth/redeem", json={"code": code}, headers={"origin": origin}, verify=verify)


def test_it_accepts_requests_when_it_says_so_and_prints_a_link_that_works_once(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.second_line.startswith(f"Sign in (once, within 10 minutes): {server.url}/#signin=")
        link = server.second_line.rpartition(" ")[2]
        assert redeem(link).status_code == 200
        assert redeem(link).json()["error"]["code"] == "link_invalid"
        exit_code, log = server.end()
    assert exit_code == 0
    assert log == ""


def test_commands_reach_the_server_that_runs_wherever_it_listens(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        link = keyside(tmp_path, "link", "--data-dir", str(tmp_path)).stdout.strip()
        assert link.startswith(f"{server.url}/#signin=")
        assert redeem(link).status_code == 200
        made = keyside(tmp_path, "token", "create", "--name", "tool", "--data-dir", str(tmp_path))
        bearer = {"authorization": f"Bearer {made.stdout.strip()}"}
        assert httpx.get(f"{server.url}/api/auth/me", headers=bearer).json()["name"] == "owner"


def test_who_is_signed_in_stays_so_after_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        cookies = redeem(server.second_line.rpartition(" ")[2]).cookies
        server.end(signal.SIGKILL)
    with serving(tmp_path) as server, httpx.Client(base_url=server.url, cookies=dict(cookies)) as client:
        assert client.get("/api/auth/me").status_code == 200
        assert server.end(signal.SIGINT)[0] == 0


def test_a_second_server_is_told_what_is_taken(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        data_dir = ["--data-dir", str(tmp_path)]
        assert "is in use by process" in said(keyside(tmp_path, "serve", "--port", "0", *data_dir), 1)
        port = server.url.rpartition(":")[2]
        ran = keyside(tmp_path, "serve", "--port", port, "--data-dir", str(tmp_path / "other"))
        assert f"Port {port} of 127.0.0.1 is in use" in said(ran, 1)
        assert httpx.get(f"{server.url}/api/auth/me").status_code == 401


def test_off_mode_says_that_it_is_off(tmp_path: Path) -> None:
    with serving(tmp_path, "--auth", "off") as server:
        assert server.second_line == "Sign-in is off: whoever reaches this address is its owner."
        assert httpx.get(f"{server.url}/api/auth/me").json()["auth"] == "off"


def test_it_serves_https_itself(tmp_path: Path) -> None:
    with serving(tmp_path, "--tls-cert", str(PAIR), "--tls-key", str(PAIR)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        answer = redeem(server.second_line.rpartition(" ")[2], verify=False)
        assert answer.headers["set-cookie"].startswith("__Host-keyside_session=")
        assert "; Secure" in answer.headers["set-cookie"]


def test_whoever_connects_directly_cannot_say_that_it_is_somebody_else(tmp_path: Path) -> None:
    with serving(tmp_path) as server, httpx.Client(base_url=server.url, headers={"origin": server.url}) as client:
        for n in range(11):
            said = {"x-forwarded-for": f"203.0.113.{n}", "x-forwarded-proto": "https", "x-real-ip": f"203.0.113.{n}"}
            answer = client.post("/api/auth/redeem", json={"code": "guess"}, headers=said)
        assert answer.json()["error"]["code"] == "too_many_attempts"
        assert redeem(server.second_line.rpartition(" ")[2]).status_code == 200


def test_each_client_of_a_trusted_proxy_is_counted_by_itself(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEYSIDE_TRUSTED_PROXIES=127.0.0.1, 10.0.0.0/8\n")
    with serving(tmp_path) as server, httpx.Client(base_url=server.url, headers={"origin": server.url}) as client:
        codes = [
            client.post("/api/auth/redeem", json={"code": "guess"}, headers={"x-forwarded-for": said}).status_code
            for said in (*(f"198.51.100.{n}, 203.0.113.7, 10.1.2.3" for n in range(11)), "203.0.113.8")
        ]
    assert codes == [401] * 10 + [429, 401]


def test_no_credential_is_ever_logged(tmp_path: Path) -> None:
    """[S1] no cookie, token or code is in the log, not even in that of `debug`"""
    with serving(tmp_path, "--log-level", "debug") as server:
        link = server.second_line.rpartition(" ")[2]
        cookie = redeem(link).cookies["keyside_session"]
        headers = {"cookie": f"keyside_session={cookie}", "authorization": "Bearer ks_canary"}
        httpx.get(f"{server.url}/api/auth/me", headers=headers)
        _, log = server.end()
    for secret in (link.rpartition("=")[2], cookie, "ks_canary"):
        assert secret not in log
    assert "Started server process" in log
