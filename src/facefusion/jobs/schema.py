"""The tables of a new store as one script, since Alembic takes longer to import than all else that a small job does.

After a new step in ``migrations/`` the script is made anew: ``python -m facefusion.jobs.schema > new_store.sql``.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from pathlib import Path

import sqlalchemy as sa

SCRIPT = Path(__file__).with_name("new_store.sql")


def migrate(connection: sa.Connection) -> None:
    """Take a store to the last step, from wherever it is."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def make_new(connection: sa.Connection, head: str) -> bool:
    """Make the tables of a new SQLite store.

    Returns
    -------
    Whether it was done; a script of another step than ``head`` is not used.
    """
    script = SCRIPT.read_text(encoding="utf-8")
    if f"VALUES ('{head}')" not in script:
        return False
    for statement in script.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
    return True


def script_of(connection: sqlite3.Connection) -> str:
    """What makes a store like this one."""
    # SQLAlchemy makes the indexes of a table in an order of its own each time.
    order = "type = 'index', CASE type WHEN 'index' THEN name END, rowid"
    tables = connection.execute(f"SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY {order}").fetchall()
    steps = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    statements = [re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")") for (sql,) in tables]
    statements += [f"INSERT INTO alembic_version VALUES ('{step}')" for (step,) in steps]
    return "".join(f"{statement};\n" for statement in statements)


def migrated_script() -> str:
    """The script of a store that went through all steps."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        migrate(connection)
        held = connection.connection.dbapi_connection
        assert isinstance(held, sqlite3.Connection)
        text = script_of(held)
    engine.dispose()
    return text


if __name__ == "__main__":
    sys.stdout.write(migrated_script())
