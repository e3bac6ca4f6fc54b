"""What identifies content: fingerprints of files and of what is made from them.

Every volume and table keeps the fingerprints of what it was made from; who uses two together
checks that they belong together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from ncm_kedro.errors import StoreError

if TYPE_CHECKING:
    from ncm_kedro.tomo.volumes.volume import Volume

MADE_FROM = "made_from"
"""Attribute of what was derived: the fingerprints of what it was made from, by kind."""
Identity = Literal["sampled", "full"]
"""``full`` reads every byte of raw data. ``sampled`` does so below 256 MB; of larger samples it
reads the ends of each file and blocks between, and takes the files' times in."""
_FULL_BELOW = 256 * 2**20  # bytes of a sample; larger ones are sampled
_SAMPLED = 64 * 2**20  # bytes of a sample that are read at least where it is larger
_LEAST_SAMPLED = 4096  # bytes of a file
_SAMPLE_BLOCK = 64 * 2**10


def fingerprint(
    method: str, *inputs: object, params: BaseModel | Mapping[str, Any] | None = None
) -> str:
    """Identify content by what it is made from.

    Parameters
    ----------
    method
        Name and version of the method; another version makes other content of the same inputs.
    inputs
        Fingerprints of inputs, and facts about them, as JSON types.
    params
        Settings that change the content; settings that do not must not be among them.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    told = params.model_dump(mode="json") if isinstance(params, BaseModel) else params
    facts = json.dumps([method, inputs, told], sort_keys=True, default=str)
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def identify_sources(**sources: Volume) -> dict[str, str]:
    """Return the fingerprints that a derived volume keeps as its attribute ``made_from``."""
    return {kind: source.fingerprint for kind, source in sources.items()}


def check_belongs(
    where: object, made_from: Mapping[str, str | None] | None, **sources: Volume | str
) -> None:
    """Check that something was made from what it is used with.

    Parameters
    ----------
    where
        What was made: a path, or a name.
    made_from
        Its attribute of this name.
    sources
        What it is used with, by kind: a volume or its fingerprint.

    Raises
    ------
    StoreError
        If it was made from another one.
    """
    for kind, source in sources.items():
        present = source if isinstance(source, str) else source.fingerprint
        known = (made_from or {}).get(kind)
        if known != present:
            what = f"another {kind} ({known})" if known else f"an unknown {kind}"
            raise StoreError(
                where,
                found=f"data made from {what}, not from the present one ({present})",
                expected=f"data that was made from this {kind}",
                action="run tomo_segment again, then what follows it: what does not belong to the "
                f"present {kind} is computed again",
            )


def identify_content(source: Path, files: Sequence[Path], identity: Identity) -> str:
    """Identify files by their names and content.

    Parameters
    ----------
    source
        The file or folder; names are taken from there.
    files
        All that hold the volume.
    identity
        ``sampled`` or ``full``, see `Identity`.

    Returns
    -------
    str
        32 hexadecimal digits; a renamed, replaced or changed file gives others.
    """
    stats = [(path, path.stat()) for path in files]
    whole = identity == "full" or sum(stat.st_size for _, stat in stats) <= _FULL_BELOW
    budget = None if whole else max(_SAMPLED // len(stats), _LEAST_SAMPLED)
    facts = [
        (
            path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name,
            stat.st_size,
            None if whole else stat.st_mtime_ns,
            _digest_file(path, stat.st_size, (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino),
                         budget),
        )
        for path, stat in stats
    ]  # fmt: skip
    return fingerprint("content-1", facts)


@lru_cache(maxsize=200_000)  # a run asks more than once; the clock of changes cannot be set back
def _digest_file(path: Path, size: int, state: tuple[int, ...], budget: int | None) -> str:
    """Hash a file, or its ends and evenly spaced blocks of at most so many bytes together."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        if budget is None or size <= budget:
            while chunk := file.read(2**20):
                digest.update(chunk)
            return digest.hexdigest()
        length = min(_SAMPLE_BLOCK, budget // 4)
        count = budget // length
        for block in range(count):
            file.seek((size - length) * block // (count - 1))
            digest.update(file.read(length))
    return digest.hexdigest()
