"""Every setting is documented with its real default, and refuses invalid values in one sentence."""

import inspect
import os
from pathlib import Path
from typing import Any

import pytest

from keyside import cli
from keyside.adapters.memory.store import MemoryStore
from keyside.app import body_limits_of, connect_limits_of, create_app
from keyside.cli.serve import _guard
from keyside.settings import OPTIONS, BadSettings, Settings, default_data_dir, load, settings_table
from keyside.web.bodies import BodyLimits
from keyside.web.client_address import ClientAddress

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:

    for name in [name for name in os.environ if name.upper().startswith("KEYSIDE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_page_of_settings_is_current() -> None:
    assert PAGE.read_text() == settings_table()


def test_every_setting_says_what_it_does() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert f"| `KEYSIDE_{name.upper()}` |" in settings_table()


def test_a_team_and_a_busy_program_stay_within_the_defaults() -> None:
    settings = load()
    assert min(settings.user_sockets, settings.user_requests) > 200
    assert min(settings.user_runs, settings.user_requests) > 1000
    assert settings.min_rate * 7 * 60 < 20 * 1024**2  # a phone takes seven minutes for this


def test_the_limits_of_what_comes_in_are_those_of_the_settings() -> None:
    settings = load(stranger_body=2000, max_body=1500, max_bodies=3000, arrival_timeout=4, min_rate=5000)
    assert body_limits_of(settings) == BodyLimits(stranger=2000, together=3000, silence=4, rate=5000)
    settings = load(arrival_timeout=4, stranger_socket=5000, strangers_per_address=6, strangers=7, max_header=8000)
    guard = _guard(settings, create_app(settings, store=MemoryStore()))
    limits = connect_limits_of(settings, ClientAddress())
    assert (limits.seconds, limits.bytes, limits.per_address, limits.in_all) == (4, 5000, 6, 7)
    assert (guard.header_seconds, guard.connect_bytes, guard.header_bytes) == (4, 5000, 8000)
    places = [guard.strangers.add(address, lambda: None) for address in "aaaaaaabb"]
    assert (len(guard.strangers), len(places)) == (7, 9)


def test_the_options_of_serve_are_settings() -> None:
    commands = [command.callback for command in cli.app.registered_commands]
    serve = next(command for command in commands if command is not None and command.__name__ == "serve")
    assert tuple(inspect.signature(serve).parameters) == OPTIONS
    assert set(OPTIONS) <= set(Settings.model_fields)


def test_the_page_shows_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_table()
    monkeypatch.setenv("XDG_DATA_HOME", "/canary")
    monkeypatch.setenv("KEYSIDE_HOST", "localhost")
    assert settings_table() == before


def test_an_option_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("KEYSIDE_PORT=1\nKEYSIDE_SYNC=normal\nDEEPSEEK_API_KEY=sk-canary\n")
    assert (load().port, load().sync) == (1, "normal")
    monkeypatch.setenv("KEYSIDE_PORT", "2")
    monkeypatch.setenv("KEYSIDE_SYNC", "")
    assert (load().port, load().sync) == (2, "normal")
    assert (load(port=3).port, load(port=None).port) == (3, 2)
    assert "sk-canary" not in repr(load())


def test_data_go_where_the_platform_keeps_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_data_dir() == tmp_path / ".local" / "share" / "keyside"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_data_dir() == tmp_path / ".local" / "share" / "keyside"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_data_dir() == tmp_path / "data" / "keyside"
    assert load(data_dir="~/here").data_dir == tmp_path / "here"
    assert load(data_dir="here").data_dir == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "localhost", "port": 80}, "http://localhost"),
        ({"host": "::1", "port": 9000}, "http://[::1]:9000"),
        ({"tls_cert": "c", "tls_key": "k", "port": 443}, "https://127.0.0.1"),
        ({"host": "0.0.0.0", "public_url": "https://Chat.Example.org/"}, "https://chat.example.org"),
        ({"auth": "off", "host": "127.0.0.2", "public_url": "http://[::1]:5173"}, "http://[::1]:5173"),
    ],
)
def test_the_address_that_people_use(given: dict[str, Any], url: str) -> None:
    assert load(**given).url == url


@pytest.mark.parametrize(
    "given",
    [
        {"auth": "off", "host": "192.168.1.5"},
        {"auth": "off", "host": "0.0.0.0", "public_url": "https://chat.example.org"},
        {"auth": "off", "public_url": "https://chat.example.org"},
        {"auth": "off", "host": "localhost.example.org"},
    ],
)
def test_off_is_for_loopback_addresses_only(given: dict[str, Any]) -> None:
    with pytest.raises(BadSettings, match="KEYSIDE_AUTH=off lets in whoever reaches the server"):
        load(**given)


def test_trusted_proxies_are_addresses_and_networks_and_none_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().trusted_proxies == ()
    monkeypatch.setenv("KEYSIDE_TRUSTED_PROXIES", " 127.0.0.1, ::1,10.0.0.0/8 ")
    assert [str(network) for network in load().trusted_proxies] == ["127.0.0.1/32", "::1/128", "10.0.0.0/8"]
    monkeypatch.setenv("KEYSIDE_TRUSTED_PROXIES", "127.0.0.1,nginx")
    sentence = r"^KEYSIDE_TRUSTED_PROXIES: 'nginx' is neither an address nor a network such as 10\.0\.0\.0/8\.$"
    with pytest.raises(BadSettings, match=sentence):
        load()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_off_loopback_a_public_url_is_needed(host: str) -> None:
    with pytest.raises(BadSettings, match="set KEYSIDE_PUBLIC_URL"):
        load(host=host)
    assert load(host=host, public_url="https://chat.example.org").warning is None
    assert "plain http" in (load(host=host, public_url="http://chat.example.org").warning or "")


def test_nobody_is_warned_of_plain_http_on_a_loopback_address() -> None:
    assert load().warning is None
    assert load(public_url="http://localhost:5173").warning is None


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name.endswith(("timeout", "grace"))])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_is_a_number_above_nothing(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"KEYSIDE_{name.upper()}", value)
    with pytest.raises(BadSettings, match=rf"^KEYSIDE_{name.upper()} cannot be '.*': input should be .*\.$"):
        load()


def test_all_bodies_may_have_twice_what_one_may_have() -> None:
    with pytest.raises(BadSettings, match="KEYSIDE_MAX_BODIES must be at least twice KEYSIDE_MAX_BODY"):
        load(max_body=2000, max_bodies=3999)
    assert load(max_body=2000, max_bodies=4000).max_bodies == 4000
