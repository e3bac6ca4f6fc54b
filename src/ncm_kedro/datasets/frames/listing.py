"""What lies below a folder: links are followed once, and nothing is passed over without a word."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ncm_kedro.sem.io.frames import (
    EMPTY_FOLDER,
    HOLDS_ROOT,
    LISTED_ALREADY,
    NO_FILE,
    UNREADABLE_FOLDER,
)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
_LITTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BROKEN_LINK = "a broken link"


@dataclass
class Listing:
    """Files below a folder, and what cannot be one.

    Parameters
    ----------
    files
        Files by name: the path relative to the folder, with forward slashes, as `show_name` gives
        it; sorted.
    problems
        Kind of problem by name.
    """

    files: dict[str, Path] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def list_files(root: Path) -> Listing:
    """List the files below a folder, hidden ones and those of file managers left out.

    A linked folder is followed once: not if it is listed already or holds the folder itself.
    """
    found = Listing()
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        name = show_name(folder, root)
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                found.problems[name] = LISTED_ALREADY
                continue
            if folder != root and root.resolve().is_relative_to(folder.resolve()):
                found.problems[name] = HOLDS_ROOT
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            found.problems[name] = f"{UNREADABLE_FOLDER} ({error.strerror})"
            continue
        visible = [entry for entry in entries if not _is_left_out(entry.name)]
        if not visible and folder != root:
            found.problems[name] = EMPTY_FOLDER
        for entry in visible:
            path = folder / entry.name
            problem = _find_problem(entry)
            if problem:
                found.problems[show_name(path, root)] = problem
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            else:
                found.files[_find_free_name(show_name(path, root), path, found)] = path
    found.files = dict(sorted(found.files.items()))
    return found


def show_name(path: Path, root: Path) -> str:
    r"""Write a path below a folder so that any file, log or page can hold it.

    Bytes that are not UTF-8 and control characters become ``\xNN``.
    """
    name = path.relative_to(root).as_posix()
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name)


def is_image(name: str) -> bool:
    """Return whether a name ends as those of images do."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _find_free_name(name: str, path: Path, found: Listing) -> str:
    """Tell a file whose name is as another one is written apart from that."""
    while name in found.files:
        name = f"{name}~{path.lstat().st_ino}"
    return name


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LITTER or name == "Icon\r"


def _find_problem(entry: os.DirEntry[str]) -> str | None:
    try:
        if entry.is_dir() or entry.is_file():
            return None
        return _BROKEN_LINK if entry.is_symlink() else NO_FILE
    except OSError as error:
        return _BROKEN_LINK if entry.is_symlink() else f"unreadable ({error.strerror})"
