"""The interface to Hydra: its plugins, the composition of the config, and its errors."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from segmentation import config
from segmentation.cli import _compat
from segmentation.cli.commands import COMMANDS
from segmentation.cli.commands.call import Call, SweepDefinition
from segmentation.cli.exit_codes import DONE, FAULT, guarded
from segmentation.cli.paths import HOME, ROOT
from segmentation.data import sources
from segmentation.errors import ConfigError
from segmentation.runtime import interrupts
from segmentation.runtime.redaction import masked

# Takes effect when NumPy is loaded, later. An idle OpenBLAS thread, even one that has just started,
# spins for an eighth of a second on a core that others need; this limits it to 65,536 cycles.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")

#: Template of ``segment NAME --help``; the header is the command's own text.
HELP_TEMPLATE = """\
${hydra.help.header}
Config groups (group=option):

$APP_CONFIG_GROUPS

Config keys (key=value), with the values composed from this command line:

$CONFIG

${hydra.help.footer}
"""
HELP_FOOTER = """\
--cfg job shows the config without running, -m runs every combination of comma-separated values,
--hydra-help explains all flags. Quote values with spaces or brackets:
'data.path="customers (1).csv"'
"""
#: A command without conf/NAME.yaml gets those of these groups that its schema has, and the Hydra
#: settings that all commands share.
GROUPS = {"data": "csv", "tracking": "local"}
SETTINGS = (
    "_self_",
    {"override hydra/output": "quiet"},
    {"override hydra/job_logging": "none"},
    {"override hydra/hydra_logging": "none"},
    {"override hydra/help": "command"},
)


class ExperimentsPath(SearchPathPlugin):
    """Add ``experiments/`` to Hydra's search path, whatever the current directory is."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder."""
        search_path.append("experiments", f"file://{ROOT / 'experiments'}")


class StudyCallback(Callback):
    """Open a sweep's parent run before its jobs and close it with their ranking."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the store and the parent run once, before any job, in this process."""
        _or_exit(lambda: _module("sweep").start(_sweep(config), _call()))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the ranking; `run` closes a sweep with failed jobs."""
        _or_exit(lambda: _module("sweep").finish())


def _or_exit(action: Callable[[], None]) -> None:
    # Hydra turns a callback's exception into a warning, except for SystemExit.
    try:
        code = guarded(lambda: _translated(action))
    except Exception:
        traceback.print_exc()
        code = FAULT
    if code:
        sys.exit(code)


def register(name: str) -> None:
    """Register a command's schema and help with Hydra.

    Parameters
    ----------
    name : str
        A key of `COMMANDS`, which may have been added after this module was imported.
    """
    command, store = COMMANDS[name], ConfigStore.instance()
    schema = command.schema_type()
    store.store(name=f"{name}_schema", node=schema)
    header = command.header
    if "data" in get_type_hints(schema):
        header += f"\n{sources.help_text()}"
    help_text = {
        "app_name": f"segment {name}",
        "header": header,
        "footer": HELP_FOOTER,
        "template": HELP_TEMPLATE,
    }
    store.store(group="hydra/help", name="command", node=help_text)
    if not (ROOT / "conf" / f"{name}.yaml").is_file():
        keys = get_type_hints(schema)
        groups = [{group: option} for group, option in GROUPS.items() if group in keys]
        store.store(name=name, node={"defaults": [f"{name}_schema", *groups, *SETTINGS]})


def _prepare() -> None:
    Plugins.instance().register(ExperimentsPath)
    # Hydra requires a folder for its own files, although it is configured to write none.
    folder = Path(tempfile.gettempdir()) / f"segment-{os.getuid()}"
    OmegaConf.register_new_resolver("scratch_dir", lambda: str(folder), replace=True)


# At import time, so that the processes of a parallel launcher have them too.
_prepare()


def run(command: str, arguments: list[str]) -> None:
    """Compose the config of a command, or of each job of a sweep, and run it.

    Parameters
    ----------
    command : str
        A key of `COMMANDS`.
    arguments : list of str
        Hydra's overrides and flags.

    Raises
    ------
    ConfigError
        The config cannot be composed, or a value is not allowed.
    """
    register(command)
    _translated(lambda: _hydra(command, arguments))


def close(*, interrupted: bool) -> None:
    """Close what a command may have left open: a sweep or a Spark session."""
    if "segmentation.cli.commands.sweep" in sys.modules:
        _module("sweep").close(interrupted=interrupted)
    if "segmentation.spark.session" in sys.modules:
        import_module("segmentation.spark.session").close()


def _hydra(command: str, arguments: list[str]) -> None:
    # Hydra would print a traceback and exit with 1; the exception itself is what we want.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"segment {command}", *arguments]
    failed: list[Exception] = []

    def task(cfg: DictConfig) -> None:
        try:
            # Also here: Hydra treats any exception as the job's failure and runs the next job.
            with interrupts.kept():
                _run(command, cfg)
        except Exception as error:
            # Hydra's own line with the job's overrides helps only in a sweep.
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                print(f"segment: failed: {masked(str(error))}", file=sys.stderr)
                raise
            failed.append(error)

    hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=command)(task)()
    if failed:
        raise failed[0]


def _translated(action: Callable[[], None]) -> None:
    """Run `action` and turn errors of Hydra and OmegaConf into `ConfigError`."""
    try:
        action()
    except (HydraException, OmegaConfBaseException) as error:
        key = _compat.unknown_key(error)
        if key is None:
            raise ConfigError(_compat.composition_error(error)) from error
        schema = COMMANDS[sys.argv[0].split()[-1]].schema_type()
        raise ConfigError(config.unknown_key(key, schema)) from error


def _run(command: str, cfg: DictConfig) -> None:
    plain = _plain(cfg)
    call = _call()
    composed: DictConfig | None = cfg
    if plain.get("run_id") is not None and command == "fit":
        parsed = OverridesParser.create().parse_overrides(list(call.overrides))
        given = [override.key_or_group.replace("/", ".") for override in parsed]
        plain, composed = _module("fit").stored(plain, given, call), None
    with _quick_imports():
        runner = COMMANDS[command].runner()
    _keep_imports()
    runner(config.load(plain, COMMANDS[command].schema_type(), composed=composed), call)


@functools.cache
def _keep_imports() -> None:
    # Imported objects live until the end: without this, each full collection traverses them, which
    # takes 0.15 s, several times per run. Once per process: later calls would keep a job's garbage.
    gc.freeze()
    # Figures and configs leave thousands of cyclic objects: collect less often, more at a time.
    gc.set_threshold(20_000, 20, 50)


@contextlib.contextmanager
def _quick_imports() -> Iterator[None]:
    # Imports create almost no garbage, but looking for it takes a sixth of their time.
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _module(name: str) -> ModuleType:
    """Import a module of `cli.commands` lazily: mlflow and scikit-learn take seconds to import."""
    with _quick_imports():
        return import_module(f"segmentation.cli.commands.{name}")


def _call() -> Call:
    # The callbacks of a sweep run before Hydra has a job and its overrides.
    overrides = _overrides(HydraConfig.get()) if HydraConfig.initialized() else []
    # Masked, since they are printed and logged.
    return Call(home=HOME, overrides=tuple(masked(override) for override in overrides))


def _overrides(hydra_cfg: Any) -> list[str]:
    # As typed: iterating would resolve ${oc.env:DATABASE_URL} and reveal the password.
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


def complete(arguments: list[str]) -> int:
    """Run Hydra's shell completion for the command being typed.

    Hydra completes the overrides of a single command, so the command's name is removed first.

    Parameters
    ----------
    arguments : list of str
        ``-sc`` and Hydra's arguments for it; a command may come first.

    Returns
    -------
    int
        The exit code.
    """
    command = "fit"
    words = os.environ.get("COMP_LINE", "").split(" ")
    if arguments[0] in COMMANDS:
        command, *arguments = arguments
    elif any("query" in argument for argument in arguments):
        if len(words) < 3:
            print(" ".join(COMMANDS))
            return DONE
        command = words.pop(1)
        os.environ["COMP_LINE"] = " ".join(words)
    if command not in COMMANDS:
        return DONE
    register(command)
    sys.argv = ["segment", *arguments]
    entry = hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=command)
    return guarded(lambda: _translated(entry(lambda cfg: None)))
