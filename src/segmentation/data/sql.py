"""Read customers from a database with one query in a read-only transaction.

User and password never leave this module. Errors quote the address without them, and are raised
without the driver's exception, which a traceback would show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, quote_plus
from uuid import UUID

import pandas as pd
import sqlalchemy
from sqlalchemy import URL, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from segmentation.data import customers
from segmentation.data.customers import Customers
from segmentation.data.sources import Select
from segmentation.errors import ConfigError, DataError, SegmentationError
from segmentation.runtime.redaction import MASK, masked, masked_url

#: Statement that makes a transaction read-only, by dialect.
_READ_ONLY = {"sqlite": "PRAGMA query_only = ON", "postgresql": "SET TRANSACTION READ ONLY"}


def read_sql(
    url: str,
    query: str,
    *,
    id: str | None = None,
    missing: str = "error",
    rename: Mapping[str, str] | None = None,
    columns: Sequence[str] | None = None,
) -> Customers:
    """Read customers with an SQL query.

    The transaction is read-only in SQLite and PostgreSQL, and rolled back in every database. This
    guards against accidents; a user who must not write needs a role without write access.

    Parameters
    ----------
    url
        SQLAlchemy URL of the database, ``dialect://user:password@host:port/database``, with special
        characters in user and password percent-encoded.
    query
        A SELECT that returns one row per customer, or the name of an ``.sql`` file that holds it.
    id, missing, rename, columns
        As in `segmentation.data.customers.open_csv`; `columns` as in `read_csv`.

    Raises
    ------
    DataError
        The database cannot be reached or refuses the query, or a value cannot be used.
    ConfigError
        `url` or an option is not valid.
    """
    return open_sql(url, query, id=id, missing=missing, rename=rename)(columns=columns)


def open_sql(
    url: str,
    query: str,
    *,
    id: str | None = None,
    missing: str = "error",
    rename: Mapping[str, str] | None = None,
) -> Select:
    """Run a query once and select columns from its rows; parameters as in `read_sql`."""
    address = _address(url)
    name = Path(address.database or "database").name
    return partial(
        customers.from_frame,
        _fetched(address, _statement(query)),
        id=id,
        missing=missing,
        rename=rename,
        source=f"{name} ({address.get_backend_name()})",
    )


def host(url: str) -> str | None:
    """Return the host of a database's address, or None if it is not the address of a database.

    A database without a host is ``a sqlite database``, for example.
    """
    try:
        address = sqlalchemy.make_url(re.sub("^postgres://", "postgresql://", url))
        address.get_dialect()
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        return None
    return address.host or f"a {address.get_backend_name()} database"


def _address(url: str) -> URL:
    """Parse the address; errors reveal nothing secret in it."""
    hidden = masked_url(url)
    if MASK in url and hidden == url and not url.endswith(f"://{MASK}"):
        raise ConfigError(
            f"data.url={url} is an address as runs store it, without its credentials. Fit with "
            "the full address in an environment variable, 'data.url=${oc.env:DATABASE_URL}': "
            "the run then stores the variable's name and can be used again."
        )
    # The path of a file needs no percent-encoding, and a file has no password.
    local = url.startswith("sqlite:")
    if hidden.endswith(f"://{MASK}") and not local:
        raise ConfigError(
            "data.url: percent-encode special characters in user, password and options: "
            "@ is %40, / is %2F, ? is %3F, # is %23, ' is %27, a blank is %20."
        )
    try:
        # Hosting services write postgres://, which SQLAlchemy does not accept.
        address = sqlalchemy.make_url(re.sub("^postgres://", "postgresql://", url))
    except (ArgumentError, ValueError):
        address = None
    if address is None:
        raise ConfigError(
            "data.url is not the address of a database; write it as "
            "dialect://user:password@host/name, for example sqlite:///shop.db, or "
            "'data.url=${oc.env:DATABASE_URL}'."
        )
    name = address.database or ":memory:"
    if local and not name.startswith((":memory:", "file:")) and not Path(name).is_file():
        # SQLite would create a new, empty database.
        raise DataError(f"data.url: there is no database file {Path(name).absolute()}.")
    if address.drivername == "postgresql" and not find_spec("psycopg2") and find_spec("psycopg"):
        # SQLAlchemy itself would choose psycopg2, the older generation of the driver.
        return address.set(drivername="postgresql+psycopg")
    return address


def _statement(query: str) -> str:
    text = query.strip()
    if text.lower().endswith(".sql") and "\n" not in text:
        file = Path(text).expanduser().absolute()
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise DataError(f"data.query: {file} cannot be read ({reason}).") from None
    if not text:
        raise ConfigError(
            "data.query is empty: set it to a SELECT, or to a file with one, such as customers.sql."
        )
    return text


def _fetched(address: URL, statement: str) -> pd.DataFrame:
    place = masked_url(address.render_as_string())
    problem: SegmentationError
    try:
        engine = sqlalchemy.create_engine(address, hide_parameters=True)
        try:
            return _rows(engine, statement)
        finally:
            engine.dispose()
    except SegmentationError as error:
        problem = error
    except ModuleNotFoundError as error:
        problem = ConfigError(
            f"data.url={place}: the Python driver {error.name!r} is not installed. Install it "
            "(PostgreSQL: pip install 'psycopg[binary]'), or name another one: dialect+driver://"
        )
    except NoSuchModuleError:
        problem = ConfigError(
            f"data.url={place}: SQLAlchemy does not support this database or driver. It supports "
            "sqlite, postgresql, mysql, mariadb, oracle and mssql; others need an extra package."
        )
    except Exception as error:
        # Drivers raise other errors too; SQLAlchemy wraps only database errors.
        reason = error.orig if isinstance(error, DBAPIError) else error
        text = _without_credentials(" ".join(str(reason).split()), address)[:300].rstrip(".")
        problem = DataError(f"{place}: {text}. Check data.url and data.query.")
    # Raised here so that the driver's exception is not attached as context.
    raise problem


def _rows(engine: Engine, statement: str) -> pd.DataFrame:
    with engine.connect() as connection:
        read_only = _READ_ONLY.get(connection.dialect.name)
        if read_only is not None:
            connection.exec_driver_sql(read_only)
        # Run as written: ":" and "%" do not mark parameters.
        result = connection.execution_options(no_parameters=True).exec_driver_sql(statement)
        if not result.returns_rows:
            raise DataError("data.query returns no table: it must be a SELECT.")
        names, rows = list(result.keys()), [tuple(row) for row in result]
        connection.rollback()
    # As objects: pandas would turn integers into floats if one is missing.
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    for i in range(len(names)):
        if any(isinstance(value, UUID) for value in frame.iloc[:1, i]):
            frame.isetitem(i, [None if value is None else str(value) for value in frame.iloc[:, i]])
    return frame


def _without_credentials(text: str, address: URL) -> str:
    """Remove user, password and option values from a driver's message."""
    for value in (address.username, *address.query.values()):
        if value:
            text = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", MASK, text)
    password = str(address.password or "")
    for form in filter(None, (password, quote(password), quote_plus(password))):
        text = text.replace(form, MASK)
    return masked(text)
