"""Zarr arrays that say which file is damaged instead of what a codec stumbled over."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import zarr

from ncm_kedro.errors import StoreError

_DECODING_ERRORS = (ValueError, RuntimeError, OSError, TypeError, KeyError)


class GuardedArray(zarr.Array):
    """A Zarr array whose reads raise `StoreError` where the stored bytes are damaged.

    Chunks carry a checksum (crc32c), so that a flipped bit does not pass as a grey value. A file
    that is missing altogether is no error in Zarr: it stands for the fill value.

    Parameters
    ----------
    async_array
        What an opened `zarr.Array` wraps; `guard_array` hands it over.
    """

    def __getitem__(self, selection: Any) -> Any:
        try:
            return super().__getitem__(selection)
        except _DECODING_ERRORS as error:
            damaged = self._find_damaged(selection)
            if damaged is None:
                raise
            raise StoreError(
                damaged,
                found=f"a chunk that cannot be decoded ({error})",
                expected="the bytes that were written",
                action="check the disk, delete this volume's folder and run the pipeline that "
                "writes it again; other volumes are not concerned",
            ) from error

    def _find_damaged(self, selection: Any) -> str | None:
        """Name the first file among those that a selection touches that does not decode."""
        edges = self.shards or self.chunks
        for place in _touched(selection, self.shape, edges):
            region = tuple(slice(i * e, (i + 1) * e) for i, e in zip(place, edges, strict=True))
            try:
                super().__getitem__(region)
            except _DECODING_ERRORS:
                return f"{self.store_path}/{self.metadata.encode_chunk_key(place)}"
        return None


def guard_array(array: zarr.Array) -> GuardedArray:
    """Wrap an opened array; nothing is read.

    Parameters
    ----------
    array
        Any opened Zarr array.
    """
    return GuardedArray(array.async_array)


def _touched(
    selection: Any, shape: tuple[int, ...], edges: tuple[int, ...]
) -> Iterator[tuple[int, ...]]:
    """List the shards that a basic selection touches; all of them for any other selection."""
    items = selection if isinstance(selection, tuple) else (selection,)
    if len(items) > len(shape) or not all(isinstance(item, slice | int) for item in items):
        items = ()
    spans = []
    for axis, (length, edge) in enumerate(zip(shape, edges, strict=True)):
        item = items[axis] if axis < len(items) else slice(None)
        whole = slice(item, item + 1 or None) if isinstance(item, int) else item
        start, stop, _ = whole.indices(length)
        spans.append(range(start // edge, -(-stop // edge)))
    return product(*spans)
