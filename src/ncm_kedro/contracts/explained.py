"""Contracts of the tables of `sem_explain`."""

from __future__ import annotations

import pandera.pandas as pa
from pandera.typing import Series

from ncm_kedro.sem.explained_crops import KINDS

MAPS = ("cam", "guided")
STRENGTHS = ("ratio", "control", "untrained", "ceiling", "boundary", "inside", "between")


class SemExplainedCrops(pa.DataFrameModel):
    """A row per chosen test crop and class that is explained for it."""

    kind: Series[str] = pa.Field(isin=KINDS)
    crop_id: Series[str]
    frame_id: Series[str]
    area: Series[str]
    class_: Series[str] = pa.Field(alias="class")
    predicted: Series[str]
    probability: Series[float] = pa.Field(ge=0, le=1)
    runner_up: Series[str]
    margin: Series[float] = pa.Field(ge=0, le=1)
    target: Series[str]
    target_rank: Series[int] = pa.Field(isin=(1, 2))
    p_target: Series[float] = pa.Field(ge=0, le=1)


class SemAttention(SemExplainedCrops):
    """The same, with where the maps lie; null where a map is empty or a region is missing."""

    boundary_share: Series[float] = pa.Field(ge=0, le=1)
    strengths: Series[float] = pa.Field(
        alias=rf"^({'|'.join(MAPS)})_({'|'.join(STRENGTHS)})$", regex=True, ge=0, nullable=True
    )
    shares: Series[float] = pa.Field(
        alias=rf"^({'|'.join(MAPS)})_p$", regex=True, ge=0, le=1, nullable=True
    )
