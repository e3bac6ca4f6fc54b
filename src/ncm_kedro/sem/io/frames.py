"""Classes, records of raw files and decoded frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError, NcmError

PRISTINE = "pristine"
ADDITIVE_SEPARATOR = "__"
NOT_AN_IMAGE, TEXT_ALONE = "not an image file", "a text file without an image"
EMPTY_FOLDER, UNREADABLE_FOLDER = "an empty folder", "a folder that cannot be read"
LISTED_ALREADY = "a link to a folder that is listed already"
HOLDS_ROOT = "a link to a folder that holds the raw folder"
NO_FILE, ARCHIVE = "neither a file nor a folder", "an archive that is not unpacked"
NOT_THERE = "named in frames.csv, but not there"
NEVER_FRAMES = (NOT_AN_IMAGE, TEXT_ALONE, EMPTY_FOLDER)
"""Kinds of rejection that nobody needs to be warned of."""
NO_FRAMES = (
    *NEVER_FRAMES, UNREADABLE_FOLDER, LISTED_ALREADY, HOLDS_ROOT, NO_FILE, ARCHIVE, NOT_THERE,
)  # fmt: skip
"""Kinds of rejection that do not count as a frame that was found."""

_MAX_STEM = 100  # letters; file systems hold 255 bytes a name
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9.-]+")
_SPECIFIC = re.compile(r"\s*\(.*\)|b?'[^']*'")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

Frames: TypeAlias = Mapping[str, NDArray[np.uint8]]
"""Grey frames ``(H, W)``, banner cut, by ``frame_id``; a store decodes them on access."""


@dataclass(frozen=True, order=True)
class ClassLabel:
    """What an electrode is made of and what was done to it.

    Parameters
    ----------
    composition
        Ni:Co:Mn ratio of the cathode, for instance ``811``.
    state
        Ageing state: ``pristine``, ``formation`` or ``cycled``.
    additive
        Additives of the electrode or electrolyte, empty for none.
    """

    composition: str
    state: str = PRISTINE
    additive: str = ""

    @property
    def name(self) -> str:
        """Canonical class name; a pristine electrode carries no state."""
        name = self.composition if self.state == PRISTINE else f"{self.composition}_{self.state}"
        return f"{name}{ADDITIVE_SEPARATOR}{self.additive}" if self.additive else name


@dataclass(frozen=True)
class FrameRecord:
    """A raw file that is believed to be a frame; nothing of it is decoded yet.

    Parameters
    ----------
    file
        Path relative to the raw folder, with forward slashes.
    class_name
        Class as the folders below the raw folder or the frame table give it.
    path
        Where the file lies.
    sidecar_path
        The vendor's text file beside it, if there is one.
    settings
        Further columns of the frame table (``magnification``, ``pixel_size_um``, ...), as text.
    """

    file: str
    class_name: str
    path: Path
    sidecar_path: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def read_image(self) -> bytes:
        """Read the file as it is.

        Raises
        ------
        FrameError
            If the file cannot be read.
        """
        return _read_bytes(self.path, self.file)

    def read_sidecar(self) -> bytes | None:
        """Read the sidecar as it is; None if there is none.

        Raises
        ------
        FrameError
            If the sidecar is there but cannot be read.
        """
        return None if self.sidecar_path is None else _read_bytes(self.sidecar_path, self.file)

    def fingerprint(self, reading_digest: str) -> str:
        """Digest of everything that the decoded frame depends on, without reading the file.

        Parameters
        ----------
        reading_digest
            Digest of the reading parameters.

        Raises
        ------
        FrameError
            If the file is gone.
        """
        parts = [self.file, self.class_name, repr(sorted(self.settings.items())), reading_digest]
        try:
            for path in (self.path, self.sidecar_path):
                status = None if path is None else path.stat()
                parts.append("" if status is None else f"{status.st_size}:{status.st_mtime_ns}")
        except OSError as error:
            raise _unreadable(self.file, error) from error
        return blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class RejectedFile:
    """A file that is not used, and why.

    Parameters
    ----------
    file
        Path relative to the raw folder.
    reason
        In full.
    kind
        The reason in a few words, the same for all files that it holds for.
    folder
        Folder or class, as the folder or the frame table gives it.
    class_name
        Class, empty where it is not known.
    """

    file: str
    reason: str
    kind: str = ""
    folder: str = ""
    class_name: str = ""


@dataclass(frozen=True)
class RawFrames:
    """What lies in the raw folder.

    Parameters
    ----------
    root
        The folder.
    records
        Files that may be frames, sorted by ``file``.
    rejections
        Files that cannot be, with the reason.
    conditions
        Whether folders below those of the classes name what was done to an electrode.
    """

    root: Path
    records: tuple[FrameRecord, ...]
    rejections: tuple[RejectedFile, ...] = ()
    conditions: bool = False

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class LabelledFrame:
    """A record whose class is known and that has an identity."""

    frame_id: str
    label: ClassLabel
    record: FrameRecord


@dataclass(frozen=True)
class DecodedFrame:
    """A frame ready for the store.

    Parameters
    ----------
    image_yx
        Grey values, ``(H, W)`` uint8, banner cut.
    attributes
        Attributes of the frame, made of JSON types only.
    """

    image_yx: NDArray[np.uint8]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class DecodedFrames:
    """Frames that are decoded one by one when the store needs them.

    Parameters
    ----------
    frames
        Frames to decode, sorted by identity.
    rejections
        Files that are not frames, with the reason.
    decode
        Turns a frame into grey values and attributes; raises ``FrameError``.
    reading_digest
        Digest of all that, besides the file, the decoded frame depends on.
    """

    frames: tuple[LabelledFrame, ...]
    rejections: tuple[RejectedFile, ...]
    decode: Callable[[LabelledFrame], DecodedFrame]
    reading_digest: str


def assign_frame_ids(class_by_file: Mapping[str, str]) -> dict[str, str]:
    """Assign to each file the identity ``<class>/<stem>``.

    Runs of characters other than letters, digits, dot and hyphen collapse to ``_``; a stem of more
    than 100 letters is cut and gets a digest. Where two files would share an identity, both get
    their extension appended, and a digest of their path if that does not separate them. The result
    does not depend on the order of the files.

    Parameters
    ----------
    class_by_file
        Class name of each file (path relative to the raw folder, with forward slashes).
    """
    stems = {}
    for file, class_name in class_by_file.items():
        stem = file.rpartition("/")[2].rpartition(".")[0] or file
        short = _NOT_IN_AN_ID.sub("_", stem)
        if len(short) > _MAX_STEM:
            short = f"{short[:_MAX_STEM]}-{_digest(stem)}"
        stems[file] = f"{class_name}/{short}"
    with_suffix = {
        file: f"{frame_id}.{_NOT_IN_AN_ID.sub('_', file.rpartition('.')[2].lower())[:8]}"
        for file, frame_id in stems.items()
    }
    with_digest = {file: f"{frame_id}.{_digest(file)}" for file, frame_id in with_suffix.items()}
    chosen = dict(stems)
    for longer in (with_suffix, with_digest):
        counts = Counter(chosen.values())
        chosen |= {file: longer[file] for file in chosen if counts[chosen[file]] > 1}
    return chosen


def to_frame_error(error: Exception, file: str) -> FrameError:
    """Turn whatever a file has raised into an error that names it."""
    if isinstance(error, FrameError):
        return error
    return FrameError(
        file,
        found=f"a file that cannot be decoded ({type(error).__name__}: {error})",
        expected="a JPEG, PNG, TIFF or BMP image",
        action="export it again as 8- or 16-bit TIFF, or remove it",
    )


def summarise_problem(error: NcmError) -> str:
    """Name the kind of an error: what was found, without what is particular to one file."""
    text = _SPECIFIC.sub("", error.found).partition(":")[0]
    return " ".join(_NUMBER.sub("N", text).split())


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=4).hexdigest()


def _read_bytes(path: Path, file: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: OSError) -> FrameError:
    return FrameError(
        file,
        found=f"a file that cannot be read ({error.strerror})",
        expected="a readable image",
        action="check that the file is still there and that you may read it",
    )
