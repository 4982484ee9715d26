"""Exit codes and the errors that lead to them."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable

from segmentation.errors import GateRefused, SegmentationError
from segmentation.runtime import interrupts

DONE = 0
#: A bug: an unexpected exception.
FAULT = 1
#: The user's input is wrong.
WRONG_INPUT = 2
#: A gate refused.
REFUSED = 3
#: Ctrl-C or SIGTERM.
INTERRUPTED = 130

#: Errors that the user can fix: no permission, a read-only folder, a full disk.
_USERS_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC)


def guarded(action: Callable[[], None]) -> int:
    """Run `action` and return the exit code; on failure, print the reason in a line or two.

    Parameters
    ----------
    action : callable
        May raise. Unexpected exceptions, which are bugs, are not caught.
    """
    try:
        with interrupts.kept():
            action()
    except GateRefused as error:
        return fail(str(error), REFUSED)
    except SegmentationError as error:
        return fail(str(error), WRONG_INPUT)
    except KeyboardInterrupt:
        return fail("interrupted; a run that was being logged is marked KILLED.", INTERRUPTED)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else DONE
    except BrokenPipeError:
        # `segment compare | head`: the reader closed the pipe. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _USERS_ERRORS:
            raise
        return fail(f"{error.filename}: {error.strerror}.", WRONG_INPUT)
    return DONE


def fail(message: str, code: int) -> int:
    """Print an error, with its traceback if SEGMENT_DEBUG=1, and return `code`."""
    if os.environ.get("SEGMENT_DEBUG") == "1":
        traceback.print_exc()
    print(f"segment: error: {message}", file=sys.stderr)
    return code
