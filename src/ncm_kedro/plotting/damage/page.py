"""What the page on damage attribution is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ncm_kedro.damage.preparation.preparation import DamageData
from ncm_kedro.params.damage_attribution import AttributionParams, DamageForestParams
from ncm_kedro.plotting.damage.summary import DamageTables, list_explained


@dataclass(frozen=True)
class Page:
    """What the page is made of.

    Attributes
    ----------
    data
        Usable particles and what may explain their damage.
    tables
        What was found.
    figures
        By name, every one of them.
    params, forest
        How it was explained.
    dimensions
        Latent dimensions of the auto-encoder.
    """

    data: DamageData
    tables: DamageTables
    figures: Mapping[str, Figure]
    params: AttributionParams
    forest: DamageForestParams
    dimensions: int

    @property
    def explained(self) -> list[str]:
        """Samples whose damage the forest explains."""
        return list_explained(self.tables.scores)

    @property
    def unexplained(self) -> list[str]:
        """Samples whose damage it does not explain."""
        return [sample for sample in self.data.samples if sample not in self.explained]

    def keep_explained(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of samples that are explained."""
        return table[table["sample"].isin(self.explained)]
