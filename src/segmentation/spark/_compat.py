"""Uses of PySpark and py4j beyond their documented interfaces.

`SparkSession.stop` lets the JVM run until this process ends, and no public call ends it: a later
session would inherit its settings, and it would be left behind after Ctrl-C. So `stop` ends the
process that `SparkContext._gateway` holds and makes PySpark forget it.
"""

from __future__ import annotations

import contextlib
import subprocess
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def quiet_pandas() -> None:
    """Ignore PySpark's warnings about pandas 3; all calls used here are tested with both."""
    for message in ("PySpark does not yet fully support pandas", "The copy keyword is deprecated"):
        warnings.filterwarnings("ignore", message=message)


def stop(spark: SparkSession, grace: float) -> None:
    """Stop a session and end its JVM, which is killed if it has not ended after `grace` seconds."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    # A terminal sends Ctrl-C to the JVM too, so it may be gone; PySpark warns about that.
    with contextlib.suppress(Py4JError, OSError), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unable to cleanly shutdown Spark JVM process")
        spark.stop()
    SparkContext._gateway = SparkContext._jvm = None
    process = getattr(gateway, "proc", None)
    if gateway is None or process is None:
        return
    with contextlib.suppress(Py4JError, OSError):
        gateway.shutdown()
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
