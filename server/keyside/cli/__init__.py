"""The command line. Each command imports what it needs inside its function, so that `keyside --help` starts fast."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from keyside import __version__
from keyside.cli.problems import Problem, foreseeable

app = typer.Typer(
    help="A chat server that never holds an API key.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
token_app = typer.Typer(help="API tokens for programs.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(token_app, name="token")

COMPANION = Path(__file__).parents[1] / "static" / "companion" / "keyside-executor.mjs"

DataDir = Annotated[Path | None, typer.Option(help="The directory of the database.", show_default=False)]


def main() -> None:
    """The console script. It exits with 0, with 1 after a failure (one sentence on stderr), or with 2 for bad usage."""
    try:
        app()
    except Problem as problem:
        typer.echo(f"keyside: {problem}", err=True)
        raise SystemExit(problem.exit_code) from None


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 takes any free one.", show_default="8000")
    ] = None,
    data_dir: DataDir = None,
    public_url: Annotated[str | None, typer.Option(help="The origin under which people reach it.")] = None,
    auth: Annotated[str | None, typer.Option(help="'local' or 'off'.", show_default="local")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate chain (PEM), to serve https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    browser: Annotated[
        bool | None, typer.Option("--browser/--no-browser", help="Open the browser if there is a screen.")
    ] = None,
    sync: Annotated[str | None, typer.Option(help="'full' or 'normal'.", show_default="full")] = None,
    log_level: Annotated[
        str | None, typer.Option(help="'debug', 'info', 'warning' or 'error'.", show_default="info")
    ] = None,
) -> None:
    """Start the server. Each option is also a setting: KEYSIDE_HOST, ... (environment or .env)."""
    given = {name: value for name, value in locals().items() if value is not None}
    from keyside.cli.serve import run
    from keyside.settings import load

    with foreseeable():
        settings = load(**given)
    run(settings)


@app.command()
def link(data_dir: DataDir = None) -> None:
    """Print a one-time link that signs a browser in, valid for ten minutes."""
    from keyside.cli.store import open_accounts
    from keyside.settings import load

    with foreseeable():
        settings = load(data_dir=data_dir)

        async def make() -> str:
            with open_accounts(settings) as accounts:
                made = await accounts.new_link((await accounts.owner()).id)
                # An option of `serve` may have moved the server away from what the settings say here.
                url = settings.public_url or await accounts.url() or settings.url
                return made.url(url)

        typer.echo(asyncio.run(make()))


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Option(help="What the token is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="'api', 'chats', 'executor' or 'executor:shared'; may be repeated.", show_default="api"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Create an API token and print it, and nothing else. It is never shown again."""
    from keyside.cli.store import open_accounts
    from keyside.settings import load

    with foreseeable():
        settings = load(data_dir=data_dir)

        async def make() -> str:
            with open_accounts(settings) as accounts:
                owner = await accounts.owner()
                return (await accounts.new_token(owner.id, name, scope or ["api"], by_operator=True))[1]

        typer.echo(asyncio.run(make()))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def executor(context: typer.Context) -> None:
    """Run the companion: an executor on this machine that uses your own keys. All arguments are passed on to it."""
    node = shutil.which("node")
    if node is None:
        raise Problem("The companion runs on Node 20 or newer, and there is no `node` on the PATH.")
    if not COMPANION.is_file():
        raise Problem("The companion has not been built yet. Run `make setup` in the checkout.")
    environment = {**os.environ, "KEYSIDE_VERSION": __version__}
    os.execve(node, [node, str(COMPANION), *context.args], environment)  # noqa: S606


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Upgrade the database to this version. `serve` does so by itself."""
    from keyside.cli.store import open_accounts
    from keyside.settings import load

    with foreseeable(), open_accounts(load(data_dir=data_dir)):
        typer.echo("The database is up to date.")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write. An existing file is replaced.")],
    data_dir: DataDir = None,
) -> None:
    """Copy the database. The server may be running. To restore: stop it, and put the copy in place as keyside.db."""
    from keyside.cli.store import open_database
    from keyside.settings import load

    with foreseeable(), open_database(load(data_dir=data_dir)) as database:
        database.backup(file)
        typer.echo(f"{file}: {file.stat().st_size} bytes.")


@app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check that no event is missing and that every finished answer matches its lines. A server may be running."""
    from keyside.adapters.sql.doctor import examine
    from keyside.cli.store import open_database
    from keyside.settings import load

    with foreseeable(), open_database(load(data_dir=data_dir)) as database:
        report = examine(database)
    for finding in report.findings:
        typer.echo(finding)
    if report.findings:
        raise Problem(f"{len(report.findings)} findings. Restore a backup, or report them.")
    typer.echo(f"All is well: {report.chats} chats, {report.runs} runs, {report.lines} lines.")


@app.command()
def schema(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; only check that they are current.")] = False,
) -> None:
    """Regenerate the generated files of a checkout: JSON Schema, TypeScript types, tables in the docs."""
    from keyside import schema as generator

    try:
        paths = generator.stale() if check else generator.write()
    except (RuntimeError, FileNotFoundError) as error:
        raise Problem(f"This needs a checkout that is set up (`make setup`): {error}.") from None
    for path in paths:
        typer.echo(path.relative_to(generator.ROOT))
    if check and paths:
        raise Problem("These generated files are not current. Run `keyside schema`.")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
