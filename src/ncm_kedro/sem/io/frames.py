"""Class names, records of raw files and decoded frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ncm_kedro.errors import FrameError, NcmError
from ncm_kedro.params.sem_ingest import LabelParams

PRISTINE = "pristine"
ADDITIVE_SEPARATOR = "__"
_ADDITIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
Frames: TypeAlias = Mapping[str, NDArray[np.uint8]]
"""Grey frames ``(H, W)``, banner cut, by ``frame_id``; a store decodes them on access."""

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, order=True)
class ClassLabel:
    """What an electrode is made of and what was done to it.

    Parameters
    ----------
    composition
        Ni:Mn:Co ratio of the cathode, for instance ``811``.
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


def parse_class_name(
    name: str, compositions: Collection[str], states: Collection[str]
) -> ClassLabel:
    """Split a class name into composition, state and additive.

    Parameters
    ----------
    compositions
        Compositions that are known.
    states
        Ageing states that are known.

    Raises
    ------
    NcmError
        If the name is not made of known parts.
    """
    condition, separator, additive = name.strip().partition(ADDITIVE_SEPARATOR)
    composition, underscore, state = condition.partition("_")
    state = state if underscore else PRISTINE
    known = composition in compositions and state in {PRISTINE, *states}
    if not known or (separator and not _ADDITIVE.fullmatch(additive)):
        raise NcmError(
            f"class '{name}'",
            found="a name that is not <composition>[_<state>][__<additive>]",
            expected=f"a composition of {', '.join(sorted(compositions))} "
            f"and a state of {', '.join(sorted({PRISTINE, *states}))}",
            action="rename the folder (or the class in frames.csv), or add the composition "
            "or state to the parameters",
        )
    return ClassLabel(composition, state, additive)


@dataclass(frozen=True)
class FrameRecord:
    """A raw file that is believed to be a frame; nothing of it is decoded yet.

    Parameters
    ----------
    file
        Path relative to the raw folder, with forward slashes.
    class_name
        Class as the folder or the frame table gives it.
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
    """A file that is not used, and why."""

    file: str
    reason: str


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
    """

    root: Path
    records: tuple[FrameRecord, ...]
    rejections: tuple[RejectedFile, ...] = ()

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


def label_frames(
    raw: RawFrames, params: LabelParams
) -> tuple[tuple[LabelledFrame, ...], tuple[RejectedFile, ...]]:
    """Assign class and identity to each record.

    Returns
    -------
    frames, rejections
        Frames sorted by identity, and every file that is not used with the reason.

    Raises
    ------
    NcmError
        If no file has a known class.
    """
    labels: dict[str, ClassLabel] = {}
    reasons: dict[str, str] = {}
    for name in sorted({record.class_name for record in raw.records}):
        try:
            labels[name] = parse_class_name(name, params.compositions, params.states)
        except NcmError as error:
            reasons[name] = str(error)
    usable = [record for record in raw.records if record.class_name in labels]
    aside = [
        RejectedFile(record.file, reasons[record.class_name])
        for record in raw.records
        if record.class_name in reasons
    ]
    if not usable:
        raise NcmError(
            raw.root,
            found=f"no frame of a known class ({len(raw.records)} images of unknown class, "
            f"{len(raw.rejections)} other files)",
            expected="images in folders named <composition>[_<state>][__<additive>]",
            action="put frames into, for instance, "
            f"{raw.root.name}/{params.compositions[0]}_cycled/, or write a frames.csv with the "
            "columns file and class",
        )
    frame_ids = assign_frame_ids({record.file: labels[record.class_name].name for record in usable})
    frames = (
        LabelledFrame(frame_ids[record.file], labels[record.class_name], record)
        for record in usable
    )
    return (
        tuple(sorted(frames, key=lambda frame: frame.frame_id)),
        (*raw.rejections, *aside),
    )


def assign_frame_ids(class_by_file: Mapping[str, str]) -> dict[str, str]:
    """Assign to each file the identity ``<class>/<stem>``.

    Runs of characters other than letters, digits, dot and hyphen collapse to ``_``. Where two
    files would share an identity, both get their extension appended, and a digest of their path
    if that does not separate them. The result does not depend on the order of the files.

    Parameters
    ----------
    class_by_file
        Class name of each file (path relative to the raw folder, with forward slashes).
    """
    stems = {}
    for file, class_name in class_by_file.items():
        stem = file.rpartition("/")[2].rpartition(".")[0] or file
        stems[file] = f"{class_name}/{_NOT_IN_AN_ID.sub('_', stem)}"
    with_suffix = {
        file: f"{frame_id}.{file.rpartition('.')[2].lower()}" for file, frame_id in stems.items()
    }
    with_digest = {
        file: f"{frame_id}.{blake2b(file.encode(), digest_size=4).hexdigest()}"
        for file, frame_id in with_suffix.items()
    }
    chosen = dict(stems)
    for longer in (with_suffix, with_digest):
        shared = _shared_values(chosen)
        chosen |= {file: longer[file] for file, frame_id in chosen.items() if frame_id in shared}
    return chosen


def _shared_values(ids: Mapping[str, str]) -> Collection[str]:
    return {frame_id for frame_id, count in Counter(ids.values()).items() if count > 1}


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
