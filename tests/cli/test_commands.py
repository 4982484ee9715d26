"""The table of commands: what it makes, and a command that comes from outside."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from conftest import REPO
from segmentation.cli import run
from segmentation.cli.commands import COMMANDS, Call, Command
from segmentation.cli.exit_codes import DONE, WRONG_INPUT
from segmentation.config import TrackingConfig
from segmentation.errors import ConfigError


@dataclass
class GreetConfig:
    """`segment greet`."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    name: str = "world"
    times: int = 1


def greet(config: GreetConfig, call: Call) -> None:
    if config.times < 1:
        raise ConfigError(f"times={config.times}: at least 1 is needed.")
    for _ in range(config.times):
        print(f"hello {config.name} in {config.tracking.experiment}, given {call.overrides}")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command from outside: one line in the table."""
    line = Command("greet someone", run=greet, schema=GreetConfig, examples=("segment greet",))
    monkeypatch.setitem(COMMANDS, "greet", line)


def test_a_command_of_ones_own_runs(outside: None, capsys) -> None:
    assert run(["greet", "name=you", "times=2", "tracking.experiment=mine"]) == DONE
    out = capsys.readouterr().out
    given = "('name=you', 'times=2', 'tracking.experiment=mine')"
    assert out == f"hello you in mine, given {given}\n" * 2


def test_it_explains_itself(outside: None, capsys) -> None:
    assert run(["--help"]) == DONE
    assert "  segment greet      greet someone\n" in capsys.readouterr().out
    assert run(["greet", "--help"]) == DONE
    out = capsys.readouterr().out
    assert out.startswith("Greet someone.\n\n  segment greet\n")
    assert "times: 1" in out
    assert run(["gret"]) == WRONG_INPUT
    assert ", ui, greet." in capsys.readouterr().err


def test_its_words_are_completed(outside: None, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COMP_LINE", "segment ")
    assert run(["-sc", "query=bash"]) == DONE
    assert capsys.readouterr().out.split() == list(COMMANDS)
    monkeypatch.setenv("COMP_LINE", "segment greet ti")
    assert run(["-sc", "query=bash"]) == DONE
    assert capsys.readouterr().out.split() == ["times="]


def test_its_config_is_checked(outside: None, capsys) -> None:
    assert run(["greet", "nam=you"]) == WRONG_INPUT
    assert (
        "Allowed at the top: tracking, name, times. Did you mean name?" in capsys.readouterr().err
    )
    assert run(["greet", "times=often"]) == WRONG_INPUT
    assert "times=often" in capsys.readouterr().err
    assert run(["greet", "times=0"]) == WRONG_INPUT
    assert "at least 1 is needed" in capsys.readouterr().err


def test_it_leaves_with_its_line(capsys) -> None:
    assert run(["greet"]) == WRONG_INPUT
    assert "there is no command 'greet'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_line_names_a_function_and_a_schema(name: str) -> None:
    line = COMMANDS[name]
    assert line.runner().__module__ == f"segmentation.cli.commands.{name}"
    assert line.schema_type().__name__ == f"{name.capitalize()}Config"
    assert line.examples
    assert all(example.startswith(f"segment {name}") for example in line.examples)


def test_every_config_file_belongs_to_a_command() -> None:
    assert {path.stem for path in (REPO / "conf").glob("*.yaml")} == set(COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fitt"], []])
def test_what_needs_no_config_imports_neither_hydra_nor_what_computes(arguments) -> None:
    heavy = "('hydra', 'omegaconf', 'numpy', 'pandas', 'sklearn', 'matplotlib', 'mlflow')"
    code = (
        f"import sys; from segmentation import cli; cli.run({arguments}); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
