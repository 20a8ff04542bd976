"""Files: every write is atomic, every read checks the file first.

A killed run leaves at most a hidden ``.part-…`` file, never a partial output under its final name.
"""

import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class UnwritableFolderError(OSError):
    """The output folder cannot be created or written to."""


class MediaError(ValueError):
    """An image, sound or video that is refused; the text names it and says what to do."""


def writable_folder(path: str | os.PathLike[str]) -> Path:
    """Create an output folder and prove, before any work starts, that it takes files.

    Args:
        path: the folder; missing parents are created too.

    Returns:
        The folder.

    Raises:
        UnwritableFolderError: it cannot be created, is a file, or refuses a file.
    """
    folder = Path(path)
    probe = folder / _part_name("")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnwritableFolderError(
            f"{folder}: cannot write to this output folder ({reason}); choose another one"
        ) from error
    return folder


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block succeeds.

    The temporary file exists (empty) from the start, keeps the suffix, and is removed when the
    block raises. Data and directory entry are synchronised to disk.

    Args:
        path: where the finished file shall be; its folder must exist.

    Yields:
        The path to write to.

    Raises:
        OSError: the folder is absent or not writable, or `path` is a folder.
    """
    final = Path(path)
    if final.is_dir():
        raise IsADirectoryError(f"{final}: is a folder; give the name of a file")
    part = final.with_name(_part_name(final.suffix))
    # Not tempfile.mkstemp: its mode 0600 would outlive the rename; this one obeys the umask.
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
        _synchronise(part)
        os.replace(part, final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # Windows cannot open a folder
        _synchronise(final.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file atomically.

    Args:
        path: where to.
        data: the content.

    Raises:
        OSError: see `atomic_path`.
    """
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically, as UTF-8 with unchanged line ends.

    Args:
        path: where to.
        text: the content.

    Raises:
        OSError: see `atomic_path`.
    """
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write readable JSON atomically.

    Args:
        path: where to.
        value: anything JSON can say; NaN and infinity are not among it.

    Raises:
        ValueError: NaN or infinity in `value`.
        TypeError: something that JSON cannot say.
        OSError: see `atomic_path`.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def input_file(path: str | os.PathLike[str], error: type[ValueError] = ValueError) -> Path:
    """Refuse a path that cannot be a file with something in it.

    Args:
        path: a file that shall be read.
        error: the type of error to raise.

    Returns:
        The path.

    Raises:
        ValueError: (or `error`) absent, a folder, not a regular file, empty, or not permitted.
    """
    file = Path(path)
    try:
        state = file.stat()
    except FileNotFoundError:
        raise error(f"{file}: no such file; check the name") from None
    except (OSError, ValueError) as problem:  # no permission, name too long, NUL in the name
        raise error(f"{str(file)!r}: cannot be read ({problem}); check the name") from problem
    if stat.S_ISDIR(state.st_mode):
        raise error(f"{file}: is a folder; give the name of a file")
    if not stat.S_ISREG(state.st_mode):
        raise error(f"{file}: not a regular file; copy its content to one")
    if state.st_size == 0:
        raise error(f"{file}: the file is empty (0 bytes); fetch or make it again")
    if not os.access(file, os.R_OK):
        raise error(f"{file}: no permission to read it; change its mode")
    return file


def read_json(path: str | os.PathLike[str], *, max_bytes: int) -> Any:
    """Read JSON from a file that others may have written.

    Args:
        path: the file.
        max_bytes: refuse larger files before reading them.

    Returns:
        The value. It holds no NaN and no infinity by name, and no object with a key twice.

    Raises:
        ValueError: absent, empty, too large, not UTF-8, not JSON, NaN, Infinity, a
            duplicate key, or nested too deeply.
    """
    file = input_file(path)
    size = file.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{file}: {size} bytes, more than the limit of {max_bytes}")
    try:
        return json.loads(
            file.read_bytes().decode(),
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_keys,
        )
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not valid JSON ({error})") from error


def _part_name(suffix: str) -> str:
    return f".part-{secrets.token_hex(8)}{suffix}"


def _synchronise(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has the same key twice")
    return value
