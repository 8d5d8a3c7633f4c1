"""Failures meant for a person: one line that names the thing and the mend."""

import errno
import os
import signal
import sys
from collections.abc import Callable

FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk's end, or that of the person's share of it
MENDS = {
    **dict.fromkeys(FULL, "free some space and run again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its owner or its rights and run again"),
    errno.EROFS: "mount it for writing and run again",
    errno.EMFILE: "raise the limit (`ulimit -n 4096`) and run again",
}

# For a stage that does not know what data set it reads.
MORE_PICTURES = "take more pictures (a higher data.limit or drawn.count, or more in data.path)"


class UserError(Exception):
    """Bad input. The message is one line: what is wrong with which file, row or key, and the mend."""


def run(main: Callable[[], None]) -> None:
    """Run an entry point; a UserError, or what the system refuses, becomes one line on stderr and exit status 1."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # who read the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it ends
        sys.exit(128 + signal.SIGPIPE)
    except UserError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("interrupted: finished stages are kept; run `make repro` again to go on")
    except OSError as error:
        full = error.errno in FULL
        what = "the disk is full" if full else error.strerror or error
        where = f" {'while writing' if full else 'at'} {error.filename}" if error.filename else ""
        mend = MENDS.get(error.errno or 0, "see to it and run again")
        sys.exit(f"error: {what}{where}: {mend}; earlier outputs are untouched")
