"""How block-wise work on volumes is spread over cores or a cluster."""

from __future__ import annotations

from pydantic import Field

from ncm_kedro.params.base import FrozenParams


class TomoComputeParams(FrozenParams):
    """Who works on the blocks of a volume; the result does not depend on it."""

    workers: int = Field(default=2, ge=1, le=1024)
    """Threads of this machine that work on blocks."""
    dask_address: str | None = None
    """Scheduler of a dask cluster that sees the same files, ``tcp://host:8786``; null: threads."""
    block_edge_vx: int = Field(default=128, ge=16, le=1024, multiple_of=16)
    """Edge of a block in voxels: of a Zarr shard, and of what one task holds at a time."""
