"""The Spark session of a process: opened on first use and always stopped."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation.clustering.engine_table import SparkOptions
from segmentation.errors import ConfigError
from segmentation.runtime import interrupts
from segmentation.runtime.progress import Say
from segmentation.spark._compat import quiet_pandas, stop

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Minimum number of partitions: fixed, because sums are added partition by partition and the
#: result must not depend on the machine's number of cores.
PARTITIONS = 16
#: Rows passed to an executor's Python process at a time.
BATCH_ROWS = 65_536
QUIET = """\
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex
"""
#: How long a JVM may take to end before it is killed.
GRACE_SECONDS = 30
INSTALL = 'install it with: pip install "customer-segments[spark]"'


@dataclass
class _Opened:
    """The session this process has opened, and the folders to remove with it."""

    spark: SparkSession | None = None
    asked: tuple[object, ...] = ()
    folders: list[str] = field(default_factory=list)


# A process can have one Spark session at a time and must stop the one it has opened.
_opened = _Opened()


def open_session(options: SparkOptions, say: Say) -> SparkSession:
    """Open the Spark session of this process, or return the open one.

    An existing session, as in a Databricks notebook, is used as it is and not stopped.

    Parameters
    ----------
    options : SparkOptions
        ``master`` and ``partitions``; all other Spark settings belong in ``spark-defaults.conf`` in
        ``SPARK_CONF_DIR``, as for any Spark program.
    say : callable
        Receives lines of progress.

    Raises
    ------
    ConfigError
        There is no PySpark or no Java, or the master does not answer.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise ConfigError(f"engine=spark needs PySpark: {INSTALL}.") from None
    quiet_pandas()
    asked = (options.master, options.partitions)
    if _opened.spark is not None:
        if asked == _opened.asked:
            return _opened.spark
        close()
    there = SparkSession.getActiveSession()
    if there is not None:
        return there
    master = options.master or "local[*]"
    _require_java()
    say(f"Starting Spark ({master}) …")
    settings = _settings(master, options.partitions or PARTITIONS)
    builder = SparkSession.builder.appName("segment").master(master)
    for name, value in settings.items():
        builder = builder.config(name, value)
    # The executors use the driver's Python unless another one is set.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        spark = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        close()
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"engine.master={master}: Spark does not start ({reason}).") from error
    except Exception as error:  # py4j wraps whatever the JVM threw
        close()
        raise ConfigError(f"engine.master={master}: Spark does not start ({_cause(error)}).") from (
            error
        )
    # Failures are reported once, in our words; SEGMENT_DEBUG=1 shows the executors' traces too.
    spark.sparkContext.setLogLevel("ERROR" if os.environ.get("SEGMENT_DEBUG") == "1" else "OFF")
    if threading.current_thread() is threading.main_thread():
        # PySpark's own handler calls the JVM first, which Ctrl-C may have ended.
        interrupts.listen()
    _opened.spark, _opened.asked = spark, asked
    return spark


def close() -> None:
    """Stop the session this process has opened, if any, and remove its folders."""
    spark, _opened.spark, _opened.asked = _opened.spark, None, ()
    try:
        if spark is not None:
            stop(spark, GRACE_SECONDS)
    finally:
        while _opened.folders:
            shutil.rmtree(_opened.folders.pop(), ignore_errors=True)


atexit.register(close)


def _settings(master: str, partitions: int) -> dict[str, str]:
    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # The partitions of a file must depend on the file alone.
        "spark.default.parallelism": str(partitions),
        "spark.sql.shuffle.partitions": str(partitions),
        "spark.sql.files.minPartitionNum": str(partitions),
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH_ROWS),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
    }
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        options["spark.driver.host"] = "127.0.0.1"
    folder = tempfile.mkdtemp(prefix="segment-spark-")
    _opened.folders.append(folder)
    if "SPARK_CONF_DIR" not in os.environ:
        # Otherwise Spark starts with three lines about its logging.
        log = Path(folder, "log4j2.properties")
        log.write_text(QUIET, encoding="utf-8")
        options["spark.driver.extraJavaOptions"] = f"-Dlog4j2.configurationFile={log.as_uri()}"
    options["spark.sql.warehouse.dir"] = f"{folder}/warehouse"
    if "SPARK_LOCAL_DIRS" not in os.environ:
        options["spark.local.dir"] = folder
    return options


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") or (home and shutil.which("java", path=f"{home}/bin")):
        return
    raise ConfigError(
        "engine=spark needs Java 17 or newer: install one (such as openjdk-17-jre-headless), or "
        f"set JAVA_HOME. PySpark itself: {INSTALL}."
    )


def _cause(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Exception" in line or "Error" in line]
    return (told or lines or [type(error).__name__])[0]
