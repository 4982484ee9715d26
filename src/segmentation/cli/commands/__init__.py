"""The commands: each is a module with ``run(config, call)`` and a line in `COMMANDS`.

The table is light. A command's module and schema are imported when the command runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from segmentation.cli.commands.call import Call
from segmentation.experiments.ranking_order import ORDER

Run = Callable[[Any, Call], None]


@dataclass(frozen=True)
class Command:
    """A line of `COMMANDS`: what ``--help``, completion and Hydra need to know about a command.

    Attributes
    ----------
    summary : str
        What it does, in a few words, as `segment --help` lists it.
    run : callable or str
        Function of the config and the `Call`, or its location as ``module:name``.
    schema : callable or str
        The dataclass of its config, a function that returns it, or the location of either.
    examples : tuple of str
        Command lines for ``segment NAME --help`` that can be pasted as they are.
    details : str
        Text for ``segment NAME --help`` after the summary.
    notes : str
        Text for ``segment NAME --help`` after the examples.
    short : mapping of str to str
        Keys by the short form in which they may be typed. Hydra takes a key for a config group if
        any command has a group of this name.
    """

    summary: str
    run: Run | str
    schema: Callable[[], Any] | str
    examples: tuple[str, ...] = ()
    details: str = ""
    notes: str = ""
    short: Mapping[str, str] = field(default_factory=dict)

    def runner(self) -> Run:
        """Import the command's module and return the function that runs it."""
        run: Run = resolve_name(self.run) if isinstance(self.run, str) else self.run
        return run

    def schema_type(self) -> type:
        """Return the dataclass of the command's config."""
        found = resolve_name(self.schema) if isinstance(self.schema, str) else self.schema
        made: type = found if isinstance(found, type) else found()
        return made

    @property
    def header(self) -> str:
        """The beginning of ``segment NAME --help``: what the command does, and examples."""
        first = f"{self.summary[0].upper()}{self.summary[1:]}."
        examples = "\n".join(f"  {example}" for example in self.examples)
        parts = ["\n".join(filter(None, [first, self.details])), examples, self.notes]
        return "\n\n".join(filter(None, parts)) + "\n"


#: All commands by name. To add one, write a function and a line here, and conf/NAME.yaml if it has
#: config groups or keys to explain.
COMMANDS: dict[str, Command] = {
    "fit": Command(
        "fit one configuration or sweep many, each logged as an MLflow run",
        run="segmentation.cli.commands.fit:run",
        schema="segmentation.config:FitConfig",
        examples=(
            "segment fit",
            "segment fit data=csv data.path=customers.csv data.id=customer_id "
            "features.columns=[age,income] k.max=8",
            "segment fit -m scaling=standard,robust k.max=8",
            "segment fit sweep=demo",
        ),
    ),
    "compare": Command(
        "rank the finished runs, or compare two of them",
        run="segmentation.cli.commands.compare:run",
        schema="segmentation.config:CompareConfig",
        details=f"Runs are ranked by {ORDER}.\n"
        "runs=[ID,ID] compares two: settings, segments, which customers are in which segment, who\n"
        "moves, which is better.",
        examples=(
            "segment compare",
            "segment compare 'runs=[0a1b2c3d,4e5f6a7b]'",
            "segment compare 'runs=[0a1b2c3d,4e5f6a7b]' out=comparison.html",
            "segment compare sweep_id=s1a2b3c4 format=csv",
            """segment compare 'filter="metrics.k > 3"' top=5""",
        ),
        notes="runs takes ids, their first characters, or names. out writes a page (.html), its\n"
        "figure (.png) or the segments of every customer in both runs (.csv). format=csv prints\n"
        "one row per segment of either run.",
    ),
    "promote": Command(
        "check the best run against the champion; if it passes, make it the champion",
        run="segmentation.cli.commands.promote:run",
        schema="segmentation.cli.schemas:promote_schema",
        details="Every gate must pass; then the run's model is registered as a new version.\n"
        "A segment that stays the same keeps its id, name and colour.",
        examples=(
            "segment promote dry_run=true",
            "segment promote run_id=0123456789abcdef0123456789abcdef",
            "segment promote promotion=strict",
            """segment promote 'override="new shops opened, agreed with marketing"'""",
            "segment promote data=newest",
            "segment promote copy_to=prod.customer-segments",
        ),
        notes="Runs on different customers cannot be compared. If the experiment has runs of\n"
        "several data sets, name a run with run_id=…, or choose the data: data=newest takes the\n"
        "data set that was added most recently, data=customers.csv the data of this name.",
        short={"data": "data_set"},
    ),
    "rollback": Command(
        "make the previous champion the champion again",
        run="segmentation.cli.commands.rollback:run",
        schema="segmentation.config:RollbackConfig",
        details="A second rollback undoes the first.",
        examples=("segment rollback", """segment rollback 'reason="campaign lists were wrong"'"""),
    ),
    "score": Command(
        "assign every customer in a file to a segment",
        run="segmentation.cli.commands.score:run",
        schema="segmentation.config:ScoreConfig",
        details="The champion assigns them, unless you name another model.",
        examples=(
            "segment score data.path=new.csv out=scored.csv",
            "segment score engine=spark data=spark_table data.path=new/ out=scored.parquet",
            "segment score data=parquet data.path=new.parquet out=scored.parquet "
            "model=models:/customer-segments/3",
        ),
        notes="The output has the same rows with these columns added: segment, segment_name,\n"
        "distance (to the segment's centre), second_segment, margin (0 between two segments,\n"
        "1 at the centre) and in_range (not farther out than 99 % of the training customers).\n"
        "A feature, or data.id, with one of these names is written as in 'segment (id)'.\n"
        "Rows that cannot be scored are written to scored.rejects.csv with the reason.",
    ),
    "monitor": Command(
        "compare new customers with those the champion was trained on",
        run="segmentation.cli.commands.monitor:run",
        schema="segmentation.config:MonitorConfig",
        details="The verdict is ok, watch or retrain.",
        examples=(
            "segment monitor data.path=new.csv",
            "segment monitor data=parquet data.path=new.parquet fail_on=retrain",
            "segment monitor data.path=new.csv monitoring=strict monitoring.psi.watch=0.08",
        ),
    ),
    "clean": Command(
        "end the runs that a killed process left behind; repair a store that was moved",
        run="segmentation.cli.commands.clean:run",
        schema="segmentation.config:CleanConfig",
        details="Marks runs of one experiment KILLED that are RUNNING without a live process.\n"
        "Runs in other containers or on other hosts are watched for two minutes first.",
        examples=(
            "segment clean",
            "segment clean wait=false tracking.experiment=demo",
            "segment clean relocate=true tracking.uri=sqlite:///moved/mlflow.db",
        ),
    ),
    "ui": Command(
        "open the MLflow UI on the store",
        run="segmentation.cli.commands.ui:run",
        schema="segmentation.config:UiConfig",
        examples=("segment ui", "segment ui port=5050"),
    ),
}


def usage() -> str:
    """Return the text of ``segment --help``."""
    lines = [f"  segment {name:<9}  {line.summary}" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "segment: experiment-tracked customer segmentation with K-Means",
            "",
            *lines,
            "",
            "For example:",
            "  segment fit data=csv data.path=customers.csv data.id=customer_id "
            "features.columns=[age,income]",
            "  segment fit sweep=demo",
            "",
            "Run `segment <command> --help` to see what can be configured.",
            'Tab completion: eval "$(segment -sc install=bash)"',
            "",
        ]
    )
