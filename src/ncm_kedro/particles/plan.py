"""Measurements and tables by sample, and measurements that are yet to be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ncm_kedro.particles.measure import Measurement


@dataclass(frozen=True)
class MeasurementPlan:
    """A measurement that is yet to be made; the data set that saves it runs ``compute``.

    Attributes
    ----------
    name
        The sample.
    fingerprint
        Changes whenever an input, a setting or the method changes; a finished measurement of the
        same fingerprint is kept, an unfinished one is gone on with.
    compute
        Called with a folder for scratch and for the record of finished blocks, which survives a
        kill; called again with it, it redoes no finished block.
    """

    name: str
    fingerprint: str
    compute: Callable[[Path], Measurement]


class Measurements(dict[str, Measurement]):
    """Measurements by sample.

    Parameters
    ----------
    measurements
        What was measured.
    set_aside
        Reason by sample that could not be measured in the last run.
    """

    def __init__(
        self,
        measurements: Mapping[str, Measurement],
        set_aside: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(measurements)
        self.set_aside = dict(set_aside or {})


class ParticleTables(dict[str, pd.DataFrame]):
    """Tables of one kind by sample.

    Parameters
    ----------
    tables
        What there is.
    set_aside
        Reason by sample that has no table.
    """

    def __init__(
        self, tables: Mapping[str, pd.DataFrame], set_aside: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(tables)
        self.set_aside = dict(set_aside or {})
