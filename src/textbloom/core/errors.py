"""Failures meant for a person: one line that names the thing and the mend."""

import errno
import sys
from collections.abc import Callable

FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk's end, or that of the person's share of it


class UserError(Exception):
    """Bad input. The message is one line: what is wrong with which file, row or key, and the mend."""


def run(main: Callable[[], None]) -> None:
    """Run an entry point; a UserError or a full disk becomes one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("interrupted: finished stages are kept; run `make repro` again to go on")
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        sys.exit(f"error: the disk is full{where}: free some space and run again; earlier outputs are untouched")
