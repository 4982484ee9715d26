"""``segment <command> [hydra overrides]``: compose the config, call one function, map errors.

Exit codes: 0 done; 1 a fault of ours; 2 the user's input is wrong; 3 a gate refused.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segmentation import config
from segmentation.errors import ConfigError, GateRefused, SegmentationError

# Everything that computes or logs is imported by the command that needs it: importing mlflow and
# scikit-learn takes seconds, and `segment --help` should not.
if TYPE_CHECKING:
    from segmentation.fit import SweepJob
    from segmentation.store import Store

PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "conf").is_dir()
ROOT = PACKAGE if INSTALLED else PACKAGE.parents[1]
#: Folder of the default store: the checkout's, or the current directory's when installed.
HOME = (Path.cwd() if INSTALLED else ROOT) / "mlruns"
#: Tells the jobs of a sweep, which may run in other processes, which sweep they belong to.
SWEEP_VARIABLE = "SEGMENT_SWEEP"
#: Jobs of one sweep ask the same keys of MLflow's `mlflow run` environment.
MLFLOW_RUN_VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")

USAGE = """\
segment: experiment-tracked customer segmentation with K-Means

  segment fit        fit one configuration or sweep many, each logged as an MLflow run
  segment compare    rank the finished runs
  segment promote    register the best run's model and make it the champion
  segment ui         open the MLflow UI on the store

For example:
  segment fit data=csv data.path=customers.csv data.id=customer_id features.columns=[age,income]
  segment fit sweep=demo

`segment <command> --help` says what can be varied. Tab completion: eval "$(segment -sc install=bash)"
"""


class ExperimentsPath(SearchPathPlugin):  # type: ignore[misc]
    """Puts ``experiments/`` on Hydra's search path, wherever the command is called from."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder."""
        search_path.append("experiments", f"file://{ROOT / 'experiments'}")


class StudyCallback(Callback):  # type: ignore[misc]
    """Opens a sweep's parent run before its jobs and closes it with their ranking."""

    open: ClassVar[tuple[Store, SweepJob] | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the store and the parent run once, before any job, in this process."""
        _or_exit(lambda: _start_study(config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the ranking; a sweep with failed jobs is closed by `main`."""
        _or_exit(_finish_study)


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

        print(f"segment {version('segmentation')}")
        return 0
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"segment: there is no command {command!r}. Allowed: {known}.", file=sys.stderr)
        return 2
    # SIGTERM ends a run as KILLED just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _guarded(lambda: _hydra(command, rest))
    finally:
        _close_study()


def _split(argument: str) -> list[str]:
    # An MLproject parameter arrives as ONE argument: `overrides=a=1 b=2` stands for `a=1 b=2`.
    given = argument.removeprefix("overrides=")
    return [argument] if given == argument else shlex.split(given)


def _hydra(command: str, arguments: list[str]) -> None:
    # Hydra would print a traceback and exit with 1; the exception itself is what we want.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [f"segment {command}", *arguments]
    failed: list[Exception] = []

    def task(cfg: DictConfig) -> None:
        try:
            COMMANDS[command](cfg)
        except Exception as error:
            # Hydra's own line, naming the job's overrides, helps in a sweep and only there.
            if SWEEP_VARIABLE in os.environ:
                raise
            failed.append(error)

    hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=command)(task)()
    if failed:
        raise failed[0]


def _guarded(action: Callable[[], None]) -> int:
    """Do it; on failure say why in a line or two. Returns the exit code."""
    try:
        action()
    except GateRefused as error:
        return _fail(str(error), 3)
    except SegmentationError as error:
        return _fail(str(error), 2)
    except (HydraException, OmegaConfBaseException) as error:
        return _fail(_composition_error(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted; what was running is marked KILLED.", 130)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
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
        lines = lines[: lines.index("Config search path:")] if "Config search path:" in lines else lines
        return f"{' '.join(lines[:head])}. {lines[head]} {', '.join(lines[head + 1 :])}."
    if re.search(r"LexerNoViableAlt|mismatched input|no viable alternative|extraneous", text):
        return (
            f"{lines[0]} Quote values with spaces, brackets or comparisons, inside and out: "
            """'data.path="customers (1).csv"', 'filter="metrics.k > 3"'."""
        )
    lines = [line for line in lines if not line.startswith(("full_key", "object_type"))]
    return " ".join(lines[:2]) + cause


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _store(chosen: config.TrackingConfig) -> Store:
    from segmentation.store import open_store, resolve_uri

    return open_store(resolve_uri(chosen.uri, HOME), chosen.experiment)


def _fit(cfg: DictConfig) -> None:
    started = time.monotonic()
    plain = _plain(cfg)
    if plain.get("run_id") is not None:
        plain = _rerun(plain)
    checked = config.load(plain, config.FitConfig)

    from segmentation import fit

    sweep = os.environ.get(SWEEP_VARIABLE)
    job = None if sweep is None else fit.SweepJob(**json.loads(sweep))
    result = fit.compute(checked)
    store, adopted = _open_for_fit(checked.tracking, in_sweep=job is not None)
    command = f"segment fit {' '.join(_overrides())}".rstrip()
    logged = fit.log(result, store, checked, command=command, sweep=job, run_id=adopted)
    took = time.monotonic() - started
    print(f"{logged.name}: {result.choice.verdict} ({took:.1f} s)", flush=True)
    if job is None:
        for segment in result.segments:
            print(f"  {segment.id}  {segment.size:>8,}  {segment.share:6.1%}  {segment.name}")
        print(f"Report: {logged.report}")
        print(f"Run:    {logged.link}{_ui_hint(store)}")


def _open_for_fit(chosen: config.TrackingConfig, *, in_sweep: bool) -> tuple[Store, str | None]:
    """The store to log to, and the run that ``mlflow run`` has made for us, if it has."""
    from dataclasses import replace

    from segmentation.tracking import find_run

    preset = None if in_sweep else os.environ.get("MLFLOW_RUN_ID")
    store = _store(chosen)
    if preset is None:
        return store, None
    return replace(store, experiment_id=find_run(store, preset).info.experiment_id), preset


def _rerun(plain: dict[str, Any]) -> dict[str, Any]:
    """The config of the logged run `run_id`, with this command line's overrides on top."""
    from segmentation.tracking import stored_config

    chosen = config.load({"tracking": plain["tracking"]}, config.PromoteConfig).tracking
    merged = OmegaConf.create(stored_config(_store(chosen), str(plain["run_id"])))
    given = OmegaConf.create(plain)
    for override in OverridesParser.create().parse_overrides(_overrides()):
        key = override.key_or_group.replace("/", ".")
        if key not in ("run_id", "experiment", "sweep") and not key.startswith("hydra"):
            OmegaConf.update(merged, key, OmegaConf.select(given, key), merge=False)
    merged["tracking"] = given["tracking"]
    return _plain(merged)


def _overrides() -> list[str]:
    return list(HydraConfig.get().overrides.task)


def _ui_hint(store: Store) -> str:
    return "   (start the UI with: segment ui)" if store.uri.startswith("sqlite") else ""


def _start_study(cfg: DictConfig) -> None:
    from dataclasses import asdict

    from segmentation import fit, study

    hydra_cfg = cfg.hydra
    # `mlflow run` has preset one run; a sweep makes one for each configuration.
    for variable in MLFLOW_RUN_VARIABLES:
        os.environ.pop(variable, None)
    overrides = [str(override) for override in hydra_cfg.overrides.task]
    params = dict(hydra_cfg.sweeper.params or {})
    keys = [override.split("=")[0].lstrip("+~") for override in overrides]
    base = _plain(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))
    swept = [key for key in params] + [
        override.key_or_group
        for override in OverridesParser.create().parse_overrides(overrides)
        if override.is_sweep_override()
    ]
    customers = None
    if not any(str(key).split(".")[0] == "data" for key in swept):
        data = config.load({"data": base["data"]}, config.DataOnly).data
        customers = fit.read_customers(data, None)
    tracking_config = config.load({"tracking": base.pop("tracking")}, config.PromoteConfig).tracking
    store = _store(tracking_config)
    identity = study.sweep_id({"base": base, "params": params, "overrides": overrides})
    name = str(hydra_cfg.runtime.choices.get("sweep") or ", ".join(dict.fromkeys(map(str, swept))))
    header = ROOT / "experiments" / "sweep" / f"{name}.yaml"
    lines = header.read_text(encoding="utf-8").splitlines() if header.is_file() else []
    job = study.start(store, identity, name, customers, study.question_of(lines))
    os.environ[SWEEP_VARIABLE] = json.dumps(asdict(job))
    StudyCallback.open = store, job
    print(f"sweep {name} ({identity})", file=sys.stderr, flush=True)


def _finish_study() -> None:
    from segmentation import compare, study

    assert StudyCallback.open is not None
    store, job = StudyCallback.open
    StudyCallback.open = None
    ranked = study.finish(store, job)
    print()
    print(compare.render(ranked, form="table", top=20))
    _print_next(store, ranked, f"segment compare sweep_id={job.sweep_id}")
    print(f"Sweep:  {store.link(job.parent_run_id)}{_ui_hint(store)}")


def _close_study() -> None:
    """A sweep that was interrupted or whose jobs failed leaves no parent run RUNNING."""
    os.environ.pop(SWEEP_VARIABLE, None)
    if StudyCallback.open is None:
        return
    from segmentation import study

    store, job = StudyCallback.open
    StudyCallback.open = None
    study.abort(store, job, "FAILED")


def _print_next(store: Store, ranked: Any, again: str) -> None:
    from segmentation import compare
    from segmentation.tracking import artifact_file

    print()
    for note in compare.advice(ranked):
        print(note)
    best = ranked.iloc[0]
    report = artifact_file(best["artifact_uri"], "report.html")
    print(f"Best:   {best['run']}, promote it with: segment promote run_id={best['run_id']}")
    if report:
        print(f"Report: {report}")
    print(f"Again:  {again}")


def _compare(cfg: DictConfig) -> None:
    checked = config.load(_plain(cfg), config.CompareConfig)
    from segmentation import compare
    from segmentation.tracking import finished_runs

    store = _store(checked.tracking)
    runs = finished_runs(store, sweep_id=checked.sweep_id, where=checked.filter)
    ranked = compare.rank(runs, sort=checked.sort)
    if ranked.empty:
        raise ConfigError(
            f"no finished run in experiment {store.experiment!r} of {store.uri} matches. Make one "
            "with `segment fit`, or choose another tracking.experiment, sweep_id or filter."
        )
    print(compare.render(ranked, form=checked.format, top=checked.top))
    if checked.format == "table":
        _print_next(store, ranked, "segment compare format=csv")
        print(f"UI:     {store.link()}{_ui_hint(store)}")


def _promote(cfg: DictConfig) -> None:
    checked = config.load(_plain(cfg), config.PromoteConfig)
    from segmentation import compare, registry
    from segmentation.tracking import finished_runs

    store = _store(checked.tracking)
    run_id = checked.run_id
    if run_id is None:
        ranked = compare.rank(finished_runs(store))
        if ranked.empty:
            raise ConfigError(
                f"there is no finished run in experiment {store.experiment!r} to promote. Make "
                "one with `segment fit`, or name one with run_id=…"
            )
        run_id = str(ranked.iloc[0]["run_id"])
    promotion = registry.promote(run_id, tracking_uri=store.uri, name=checked.model)
    was = f" (was version {promotion.previous})" if promotion.previous else ""
    print(f"{promotion.name} version {promotion.version} is champion now{was}.")
    print("Load it anywhere with mlflow, scikit-learn and skops:")
    print(f'  mlflow.set_tracking_uri("{store.uri}")')
    print(f'  mlflow.pyfunc.load_model("models:/{promotion.name}@champion").predict(customers)')


def _ui(cfg: DictConfig) -> None:
    checked = config.load(_plain(cfg), config.UiConfig)
    from segmentation import ui

    ui.serve(_store(checked.tracking), host=checked.host, port=checked.port)


COMMANDS: dict[str, Callable[[DictConfig], None]] = {
    "fit": _fit,
    "compare": _compare,
    "promote": _promote,
    "ui": _ui,
}


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
    return _guarded(entry(COMMANDS[command]))
