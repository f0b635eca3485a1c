"""Files that are there whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file under a temporary name and renames it, so that no reader and no kill sees half of it.

    Raises:
        OSError: it cannot be written; the error names the file, and nothing is left of it.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to write that is not there yet, before what it is to hold is made; where that fails it is removed.

    Raises:
        OSError: it is there, or cannot be made.
    """
    with path.open("xb") as file:
        try:
            yield file
        except BaseException:
            path.unlink()
            raise
