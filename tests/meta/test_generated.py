"""The generated files are current."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from keyside import schema
from keyside.adapters.sql.database import HEAD, MIGRATIONS, Database
from keyside.core.run import ENDED
from keyside.core.step import TRANSITIONS


def test_generated_files_are_current() -> None:
    stale = [path.relative_to(schema.ROOT).as_posix() for path in schema.stale()]
    assert stale == [], "run `make schema`"


def test_the_diagram_has_every_arrow_of_the_table() -> None:
    page = (schema.ROOT / "docs" / "architecture.md").read_text()
    diagram = page.split(schema.DIAGRAM[0])[1].split(schema.DIAGRAM[1])[0]
    for state, inputs in TRANSITIONS.items():
        for kind, target in inputs.items():
            arrows = [line for line in diagram.splitlines() if line.strip().startswith(f"{state} --> {target}:")]
            assert any(kind.__name__ in line.split(": ")[1].split(", ") for line in arrows), (state, kind, target)
    assert {line.split()[0] for line in diagram.splitlines() if line.endswith("--> [*]")} == set(ENDED)


def test_a_page_that_lost_its_comments_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "architecture.md").write_text("# Architecture\n")
    monkeypatch.setattr(schema, "ROOT", tmp_path)
    monkeypatch.setattr(schema, "_typescript", lambda made: "")
    with pytest.raises(RuntimeError, match="has lost the comments"):
        schema.stale()


def test_the_database_knows_its_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_migrations_make_the_tables_that_the_code_has(tmp_path: Path) -> None:
    database = Database(tmp_path / "keyside.db")
    database.migrate()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    database.close()
