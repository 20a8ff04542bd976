import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralpaint.backend import files

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates are text to Python but not to UTF-8.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcé"), inner),
    max_leaves=10,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_path_shows_the_file_only_when_it_is_finished(tmp_path: Path) -> None:
    final = tmp_path / "picture.png"
    with files.atomic_path(final) as part:
        part.write_bytes(b"half")
        assert not final.exists()
        assert part.parent == tmp_path
        assert part.suffix == ".png"
        assert part.name.startswith(".")
    assert final.read_bytes() == b"half"
    assert names(tmp_path) == ["picture.png"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    final = tmp_path / "a.txt"
    final.write_text("old")

    def fail() -> None:
        with files.atomic_path(final) as part:
            part.write_text("ne")
            raise error

    with pytest.raises(error):
        fail()
    assert final.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from neuralpaint.backend.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as part:\n"
        "    part.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    final = tmp_path / "strokes.json"
    done = subprocess.run([sys.executable, "-c", script, str(final)], cwd=root, check=False)
    assert done.returncode == -9
    assert not final.exists()


def test_writers_at_the_same_time_never_mix(tmp_path: Path) -> None:
    final = tmp_path / "a.txt"
    texts = [str(digit) * 100_000 for digit in range(4)]
    barrier = threading.Barrier(len(texts))

    def write(text: str) -> None:
        barrier.wait()
        files.write_text(final, text)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert final.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


def test_a_new_file_obeys_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_folder_or_an_absent_folder_is_no_place_to_write(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"):
        files.write_text(tmp_path, "x")
    with pytest.raises(FileNotFoundError):
        files.write_text(tmp_path / "absent" / "a.txt", "x")
    assert names(tmp_path) == []


def test_text_is_utf8_with_its_line_ends(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"


@given(value=JSON)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, value)
    assert files.read_json(path, max_bytes=10**6) == value


def test_json_cannot_hold_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", [float("nan")])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b"[NaN]", "NaN is not a number"),
        (b"[-Infinity]", "-Infinity is not a number"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b" " * 200_001 + b"1", "more than the limit of 200000"),
    ],
)
def test_bad_json_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"bad\.json: .*{message}"):
        files.read_json(path, max_bytes=200_000)


def test_what_is_no_file_to_read(tmp_path: Path) -> None:
    class OwnError(ValueError):
        pass

    with pytest.raises(OwnError, match="absent: no such file"):
        files.input_file(tmp_path / "absent", OwnError)
    with pytest.raises(ValueError, match="is a folder"):
        files.input_file(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="empty: the file is empty"):
        files.input_file(tmp_path / "empty")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        files.input_file(tmp_path / "pipe")
    with pytest.raises(ValueError, match="cannot be read"):
        files.input_file("a\0b")
    with pytest.raises(ValueError, match="cannot be read"):
        files.input_file("a" * 5000)
    (tmp_path / "good").write_text("x")
    assert files.input_file(str(tmp_path / "good")) == tmp_path / "good"


def test_writable_folder_makes_it_and_leaves_it_empty(tmp_path: Path) -> None:
    folder = files.writable_folder(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    assert names(folder) == []
    files.writable_folder(folder)  # again is fine


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(files.UnwritableFolderError, match=r"file.*choose another one"):
            files.writable_folder(place)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that refuses")
def test_a_folder_that_refuses_files_is_found() -> None:
    with pytest.raises(files.UnwritableFolderError, match="/proc/self: cannot write"):
        files.writable_folder("/proc/self")
