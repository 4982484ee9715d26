"""Only a process that certainly ended counts as gone."""

from __future__ import annotations

import subprocess
import sys

from segmentation.tracking import process


def test_this_process_is_here() -> None:
    assert not process.is_gone(process.tags())


def test_an_ended_process_is_gone() -> None:
    code = (
        "from segmentation.tracking import process; import json; print(json.dumps(process.tags()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    import json

    assert process.is_gone(json.loads(done.stdout))


def test_a_pid_used_again_is_another_process() -> None:
    assert process.is_gone({**process.tags(), process.START: "1.00"})


def test_another_host_and_an_unknown_process_are_left_alone() -> None:
    ended = {**process.tags(), process.START: "1.00"}
    assert not process.is_gone({**ended, process.HOST: "elsewhere"})
    assert not process.is_gone({})
