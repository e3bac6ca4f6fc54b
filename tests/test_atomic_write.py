"""A file or folder is the old one or the new one, never half of either."""

from pathlib import Path

import pytest

from ncm_kedro.atomic_write import open_atomic, replace_folder, write_atomic, write_model_file
from ncm_kedro.errors import ModelError


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    for content in (b"old", b"new"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert list_names(path.parent) == ["a.bin"]


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")

    def interrupt() -> None:
        with open_atomic(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        interrupt()
    assert path.read_bytes() == b"old"
    assert list_names(tmp_path) == ["a.bin"]


def test_a_place_that_cannot_be_written_is_a_model_error(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"in the way")
    with pytest.raises(ModelError):
        write_model_file(tmp_path / "file" / "a.bin", b"")


def test_a_folder_is_exchanged_or_stays(tmp_path: Path) -> None:
    folder, draft = tmp_path / "folder", tmp_path / "draft"
    for content in (b"old", b"new"):
        write_atomic(draft / content.decode(), content)
        replace_folder(draft, folder)
        assert list_names(folder) == [content.decode()]
        assert list_names(tmp_path) == ["folder"]
    with pytest.raises(FileNotFoundError):
        replace_folder(draft, folder)
    assert list_names(folder) == ["new"]
