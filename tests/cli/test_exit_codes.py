"""Which error gives which exit code, and what the user reads."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from segmentation.cli.exit_codes import (
    DONE,
    INTERRUPTED,
    REFUSED,
    WRONG_INPUT,
    guarded,
)
from segmentation.errors import ConfigError, DataError, GateRefused, RegistryError, TrackingError


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (GateRefused("no structure"), REFUSED, "no structure"),
        (ConfigError("k.max"), WRONG_INPUT, "k.max"),
        (DataError("line 7"), WRONG_INPUT, "line 7"),
        (RegistryError("no champion"), WRONG_INPUT, "no champion"),
        (TrackingError("no store"), WRONG_INPUT, "no store"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (OSError(errno.ENOSPC, "No space left", "a.db"), WRONG_INPUT, "a.db: No space left."),
    ],
)
def test_an_error_gives_its_code_and_one_line(error, code, message, capsys, monkeypatch) -> None:
    monkeypatch.delenv("SEGMENT_DEBUG", raising=False)
    assert guarded(raising(error)) == code
    err = capsys.readouterr().err
    assert err.startswith("segment: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_what_is_no_error() -> None:
    assert guarded(lambda: None) == DONE
    assert guarded(raising(SystemExit(0))) == DONE
    assert guarded(raising(SystemExit("text"))) == DONE
    assert guarded(raising(SystemExit(7))) == 7


@pytest.mark.parametrize("error", [ValueError("mine"), OSError(errno.EBADF, "bad", "a.db")])
def test_a_fault_of_ours_is_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)):
        guarded(raising(error))


def test_debugging_shows_where(capsys, monkeypatch) -> None:
    monkeypatch.setenv("SEGMENT_DEBUG", "1")
    assert guarded(raising(ConfigError("k.max"))) == WRONG_INPUT
    assert "Traceback" in capsys.readouterr().err
