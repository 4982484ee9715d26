"""``segment <command> [hydra overrides]``: compose the config, call one function, map errors.

Exit codes: 0 done; 1 a fault of ours; 2 the user's input is wrong; 3 a gate refused.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import io
import math
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from segmentation import config
from segmentation.cli.commands.call import Call, SweepDefinition
from segmentation.errors import GateRefused, SegmentationError
from segmentation.runtime import interrupts
from segmentation.runtime.redaction import masked

# Read when NumPy is loaded, later. A thread of OpenBLAS that has nothing to do, just started too,
# spins for an eighth of a second on a core that others need; now for 65,536 cycles.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = (PACKAGE / "conf").is_dir()
ROOT = PACKAGE if INSTALLED else PACKAGE.parents[1]
#: Folder of the default store: the checkout's, or the current directory's when installed.
HOME = (Path.cwd() if INSTALLED else ROOT) / "mlruns"
COMMANDS = tuple(config.SCHEMAS)
#: Exit code after Ctrl-C or SIGTERM.
INTERRUPTED = 130

USAGE = """\
segment: experiment-tracked customer segmentation with K-Means

  segment fit        fit one configuration or sweep many, each logged as an MLflow run
  segment compare    rank the finished runs
  segment promote    check the best run against the champion; if it passes, make it the champion
  segment rollback   make the previous champion the champion again
  segment score      name the segment of every customer of a file
  segment monitor    compare new customers with those the champion was trained on
  segment clean      end the runs that a killed process left behind
  segment ui         open the MLflow UI on the store

For example:
  segment fit data=csv data.path=customers.csv data.id=customer_id features.columns=[age,income]
  segment fit sweep=demo

`segment <command> --help` says what can be varied.
Tab completion: eval "$(segment -sc install=bash)"
"""


class ExperimentsPath(SearchPathPlugin):
    """Puts ``experiments/`` on Hydra's search path, wherever the command is called from."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder."""
        search_path.append("experiments", f"file://{ROOT / 'experiments'}")


class StudyCallback(Callback):
    """Opens a sweep's parent run before its jobs and closes it with their ranking."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the store and the parent run once, before any job, in this process."""
        _or_exit(lambda: _command("sweep").start(_sweep(config), _call()))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the ranking; a sweep with failed jobs is closed by `run`."""
        _or_exit(lambda: _command("sweep").finish())


def _or_exit(action: Callable[[], None]) -> None:
    # Hydra turns a callback's exception into a warning; only SystemExit passes.
    try:
        code = _guarded(action)
    except Exception:
        traceback.print_exc()
        code = 1
    if code:
        sys.exit(code)


def _register() -> None:
    Plugins.instance().register(ExperimentsPath)
    store = ConfigStore.instance()
    for name, schema in config.SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema)
    # Hydra insists on a folder for its own files; we have it write none.
    folder = Path(tempfile.gettempdir()) / f"segment-{os.getuid()}"
    OmegaConf.register_new_resolver("scratch_dir", lambda: str(folder), replace=True)


# At import, so that the processes of a parallel launcher know them too.
_register()


class _Masked(io.TextIOBase):
    """A stream that takes user and password out of addresses."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(masked(text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


def main() -> None:
    """Entry point of the ``segment`` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code.

    Parameters
    ----------
    arguments : list of str
        The command and its Hydra overrides and flags.
    """
    completing = "-sc" in arguments or "--shell-completion" in arguments
    if completing:
        return _complete(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    command, *rest = arguments
    rest = [part for argument in rest for part in _split(argument)]
    # argparse takes no positional after a flag between positionals; Hydra's -m stands anywhere.
    rest.sort(key=lambda argument: argument not in ("-m", "--multirun"))
    if command == "--version":
        from importlib.metadata import version

        print(f"segment {version('customer-segments')}")
        return 0
    if {"-m", "--multirun"} & {*rest} and {"-c", "--cfg"} & {*rest}:
        return _fail("--cfg shows one configuration: leave out -m, or the lists of values.", 2)
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"segment: there is no command {command!r}. Allowed: {known}.", file=sys.stderr)
        return 2
    code = 1
    # SIGTERM ends a run as KILLED just as Ctrl-C does.
    interrupts.listen()
    try:
        # Hydra names a failed job with its overrides, and a debug traceback names anything.
        with contextlib.redirect_stderr(_Masked(sys.stderr)):
            code = _guarded(lambda: _hydra(command, rest))
    finally:
        if "segmentation.cli.commands.sweep" in sys.modules:
            _command("sweep").close(interrupted=code == INTERRUPTED)
        if "segmentation.spark.session" in sys.modules:
            import_module("segmentation.spark.session").close()
    return code


def _split(argument: str) -> list[str]:
    # An MLproject parameter arrives as ONE argument: `overrides=a=1 b=2` stands for `a=1 b=2`.
    given = argument.removeprefix("overrides=")
    parts = [argument] if given == argument else shlex.split(given)
    # local[2] is Spark's way to write it, and no grammar of Hydra's.
    parts = [re.sub(r"^(engine\.master=)(local\[.*\])$", r"\1'\2'", part) for part in parts]
    # Hydra takes no new names in a mapping, as in features.weights={age: 2}, unless told to add
    # them; a name that should not be there is refused by `config.load`.
    return [f"++{part}" if re.match(r"[\w.]+=\{", part) else part for part in parts]


def _hydra(command: str, arguments: list[str]) -> None:
    # Hydra would print a traceback and exit with 1; the exception itself is what we want.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"segment {command}", *arguments]
    failed: list[Exception] = []

    def task(cfg: DictConfig) -> None:
        try:
            # Here too: Hydra takes any error of a job for the job's and goes on with the next.
            with interrupts.kept():
                _run(command, cfg)
        except Exception as error:
            # Hydra's own line, naming the job's overrides, helps in a sweep and only there.
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                print(f"segment: failed: {masked(str(error))}", file=sys.stderr)
                raise
            failed.append(error)

    hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=command)(task)()
    if failed:
        raise failed[0]


def _guarded(action: Callable[[], None]) -> int:
    """Do it; on failure say why in a line or two. Returns the exit code."""
    try:
        with interrupts.kept():
            action()
    except GateRefused as error:
        return _fail(str(error), 3)
    except SegmentationError as error:
        return _fail(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        return _fail(_composition_error(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted; a run that was being logged is marked KILLED.", INTERRUPTED)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except BrokenPipeError:
        # `segment compare | head`: the reader has seen enough. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
            raise
        return _fail(f"{error.filename}: {error.strerror}.", 2)
    return 0


def _fail(message: str, code: int) -> int:
    if os.environ.get("SEGMENT_DEBUG") == "1":
        traceback.print_exc()
    print(f"segment: error: {message}", file=sys.stderr)
    return code


def _composition_error(error: Exception) -> str:
    text = str(error).strip()
    unknown = re.search(r"Could not override '([^'@]+)'|Key '([^']+)' is not in struct", text)
    if unknown and isinstance(error, ConfigCompositionException):
        key = unknown.group(1) or unknown.group(2)
        schema = config.SCHEMAS[sys.argv[0].split()[-1]]
        return config.unknown_key(key, schema)
    cause = f" ({config.first_line(error.__cause__)})" if error.__cause__ else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "Available options" in text:
        head = next(i for i, line in enumerate(lines) if line.startswith("Available options"))
        lines = [*lines, "Config search path:"]
        lines = lines[: lines.index("Config search path:")]
        return f"{' '.join(lines[:head])}. {lines[head]} {', '.join(lines[head + 1 :])}."
    if re.search(r"LexerNoViableAlt|mismatched input|no viable alternative|extraneous", text):
        return (
            f"{lines[0]} Quote values with spaces, brackets or comparisons, inside and out: "
            """'data.path="customers (1).csv"', 'filter="metrics.k > 3"'."""
        )
    lines = [line for line in lines if not line.startswith(("full_key", "object_type"))]
    return " ".join(lines[:2]) + cause


def _run(command: str, cfg: DictConfig) -> None:
    plain = _plain(cfg)
    call = _call()
    composed: DictConfig | None = cfg
    if plain.get("run_id") is not None and command == "fit":
        parsed = OverridesParser.create().parse_overrides(list(call.overrides))
        given = [override.key_or_group.replace("/", ".") for override in parsed]
        plain, composed = _command("fit").stored(plain, given, call), None
    module = _command(command)
    _keep_imports()
    module.run(config.load(plain, config.SCHEMAS[command], composed=composed), call)


@functools.cache
def _keep_imports() -> None:
    # What the imports made stays: without this each full collection walks through all of it,
    # 0.15 s a time, several times a run. Once a process: a job's garbage would stay as well.
    gc.freeze()
    # Figures and configs are cyclic garbage by the thousand: fewer, larger collections.
    gc.set_threshold(20_000, 20, 50)


def _command(name: str) -> ModuleType:
    # Lazily: importing mlflow and scikit-learn takes seconds, and `--help` should not.
    collects = gc.isenabled()
    # Imports leave next to no garbage, and looking for it takes a sixth of their time.
    gc.disable()
    try:
        return import_module(f"segmentation.cli.commands.{name}")
    finally:
        if collects:
            gc.enable()


def _call() -> Call:
    # The callbacks of a sweep run before Hydra has a job and its overrides.
    overrides = _overrides(HydraConfig.get()) if HydraConfig.initialized() else []
    # They are shown and logged.
    return Call(home=HOME, overrides=tuple(masked(override) for override in overrides))


def _overrides(hydra_cfg: Any) -> list[str]:
    # As typed: iterating would put the password in for ${oc.env:DATABASE_URL}.
    typed = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
    return [str(override) for override in typed or ()]


def _sweep(cfg: DictConfig) -> SweepDefinition:
    overrides = _overrides(cfg.hydra)
    parser = OverridesParser.create()
    parsed = parser.parse_overrides(overrides)
    given = {str(each.key_or_group) for each in parsed}
    params = {str(key): str(value) for key, value in (cfg.hydra.sweeper.params or {}).items()}
    # Hydra would run a key given here and in the sweep file once for each value of the file.
    params = {key: value for key, value in params.items() if key not in given}
    with read_write(cfg.hydra), open_dict(cfg.hydra):
        cfg.hydra.sweeper.params = params
    parsed += parser.parse_overrides([f"{key}={value}" for key, value in params.items()])
    sweeps = [each for each in parsed if each.is_sweep_override()]
    name = cfg.hydra.runtime.choices.get("sweep")
    return SweepDefinition(
        base=_plain(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])),
        params=params,
        overrides=tuple(overrides),
        swept=tuple(str(each.key_or_group) for each in sweeps),
        total=math.prod(len(list(each.sweep_string_iterator())) for each in sweeps),
        name=name,
        file=ROOT / "experiments" / "sweep" / f"{name}.yaml",
    )


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _complete(arguments: list[str]) -> int:
    """Shell completion: Hydra completes one command's overrides, so take the command out first."""
    command = "fit"
    words = os.environ.get("COMP_LINE", "").split(" ")
    if arguments[0] in COMMANDS:
        command = arguments.pop(0)
    elif any("query" in argument for argument in arguments):
        if len(words) < 3:
            print(" ".join(COMMANDS))
            return 0
        command = words.pop(1)
        os.environ["COMP_LINE"] = " ".join(words)
    if command not in COMMANDS:
        return 0
    sys.argv = ["segment", *arguments]
    entry = hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=command)
    return _guarded(entry(lambda cfg: None))
