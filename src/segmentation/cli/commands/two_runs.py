"""``segment compare runs=[ID,ID]``: two runs side by side, in the terminal or as a file."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import say
from segmentation.config import CompareConfig
from segmentation.errors import ConfigError
from segmentation.experiments import ranking
from segmentation.experiments.pair_page import pair_figure, render_pair_page
from segmentation.experiments.pair_tables import customer_csv
from segmentation.experiments.pair_text import render_pair
from segmentation.experiments.run_pair import RunPair, compare_pair
from segmentation.scoring.writer import check_free, part
from segmentation.tracking.run_lookup import find_segmentation, read_segmentation

#: Options of the ranking, which do not apply to two runs.
_OF_RANKING = ("sweep_id", "filter", "sort", "top")
_EXAMPLE = "segment compare 'runs=[0a1b2c3d,4e5f6a7b]'"


def run(config: CompareConfig, call: Call) -> None:
    """Print the comparison, or write it to a file.

    Raises
    ------
    ConfigError, TrackingError
        An option is not allowed, a run cannot be found, or the file cannot be written.
    """
    given = _runs(config, call)
    if config.format not in ranking.FORMATS:
        raise ConfigError(f"format={config.format}: allowed are {', '.join(ranking.FORMATS)}.")
    path = None if config.out is None else _target(config.out, overwrite=config.overwrite)
    store = call.open_store(config.tracking, reading=True)
    runs = [find_segmentation(store, each) for each in given]
    ids = [str(each.info.run_id) for each in runs]
    if ids[0] == ids[1]:
        raise ConfigError(f"runs: {given[0]!r} and {given[1]!r} are the same run, {ids[0]}.")
    pair = compare_pair(*(read_segmentation(store, each) for each in runs))
    if path is not None:
        _write(path, _CONTENT[path.suffix](pair, _again(call, str(config.out))), str(config.out))
    print(render_pair(pair, form=config.format))
    if path is not None:
        # Apart from the text, which a program may read.
        say(f"Written: {path.as_uri()}")
    elif config.format == "table":
        print(f"\nPage: {_again(call, 'comparison.html')}")


def _runs(config: CompareConfig, call: Call) -> tuple[str, str]:
    """Return the two runs as typed."""
    if config.runs is None:
        raise ConfigError(f"out=… writes the comparison of two runs: name them, as in {_EXAMPLE}")
    defaults = CompareConfig()
    for option in _OF_RANKING:
        value = getattr(config, option)
        if value != getattr(defaults, option):
            raise ConfigError(
                f"{option}={value} belongs to the ranking and does not apply to two runs: leave "
                f"out {option} or runs."
            )
    texts = config.runs if isinstance(config.runs, list) else [config.runs]
    if any(isinstance(text, float) for text in texts):
        # An id such as 12e45678 is a number for Hydra. An id has no commas and needs no quotes.
        typed = [o.partition("=")[2] for o in call.overrides if o.lstrip("+").startswith("runs=")]
        texts = typed[-1].strip("[] ").split(",") if typed else texts
    found = [str(text).strip().strip("\"'") for text in texts]
    if len(found) != 2 or not all(found):
        raise ConfigError(f"runs={config.runs}: give exactly two runs, as in {_EXAMPLE}")
    return found[0], found[1]


def _target(out: str, *, overwrite: bool) -> Path:
    """Check where the file is to be written, before anything is read."""
    path = Path(out).expanduser().absolute()
    if path.suffix not in _CONTENT or path.name == path.suffix:
        raise ConfigError(f"out={out}: the name must end in {', '.join(_CONTENT)}.")
    check_free(path, out, overwrite=overwrite)
    return path


def _write(path: Path, content: bytes | None, out: str) -> None:
    if content is None:
        raise ConfigError(
            f"out={out}: the runs have no known customers in common, which this file would show. "
            "Use out=comparison.html for the rest."
        )
    try:
        with part(path) as temporary:
            temporary.write_bytes(content)
            temporary.replace(path)
    except OSError as error:
        raise ConfigError(
            f"out={out} cannot be written: {error.strerror or error}. Choose another place."
        ) from error


def _again(call: Call, name: str) -> str:
    """Return the command that writes the file, as it can be pasted into a shell."""
    others = ("format=", "out=", "overwrite=")
    given = [each for each in call.overrides if not each.startswith(others)]
    return f"segment compare {shlex.join([*given, f'out={name}'])}"


#: What a file of each kind holds, made from the comparison and the command that repeats it.
_CONTENT: dict[str, Callable[[RunPair, str], bytes | None]] = {
    ".html": lambda pair, command: render_pair_page(pair, command=command).encode(),
    ".png": lambda pair, command: pair_figure(pair),
    ".csv": lambda pair, command: customer_csv(pair),
}
