"""How this process asks the system for memory."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of malloc.h


def keep() -> None:
    """Keep memory that was freed, for what is allocated next.

    A step of a pack makes tensors of tens of megabytes and drops them. The C library gives each back to the system,
    which clears all its pages when they are asked for again: a tenth of a step, and a third where tensors are large.
    Only the GNU library can be told; elsewhere this does nothing.
    """
    library = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(library, "gnu_get_libc_version"):
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
