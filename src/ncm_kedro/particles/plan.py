"""Measurements and tables by sample, and measurements that are yet to be made.

Which labels are measured, and when a measurement must be made anew.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import TomoComputeParams
from ncm_kedro.tomo.volumes.volume import Volume

if TYPE_CHECKING:
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
        same fingerprint is reused, an unfinished one is resumed.
    compute
        Called with a folder for scratch and for the record of finished blocks, which survives a
        kill; called again with it, it redoes no finished block.
    """

    name: str
    fingerprint: str
    compute: Callable[[Path], Measurement]


class Measurements(dict[str, "Measurement"]):
    """Measurements by sample.

    Parameters
    ----------
    measurements
        What was measured.
    rejections
        Reason by sample that could not be measured in the last run.
    """

    def __init__(
        self,
        measurements: Mapping[str, Measurement],
        rejections: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(measurements)
        self.rejections = dict(rejections or {})


class ParticleTables(dict[str, pd.DataFrame]):
    """Tables of one kind by sample.

    Parameters
    ----------
    tables
        What there is.
    rejections
        Reason by sample that has no table.
    """

    def __init__(
        self, tables: Mapping[str, pd.DataFrame], rejections: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(tables)
        self.rejections = dict(rejections or {})


_log = logging.getLogger(__name__)


def choose_labels(labels: Volume, reviewed: Volume | None) -> Volume:
    """Choose the labels that were corrected by hand, where they belong to the current ones.

    Parameters
    ----------
    labels
        What the segmentation found.
    reviewed
        What came back from a review, or None. An older segmentation's review is ignored.
    """
    if reviewed is None:
        return labels
    if reviewed.attributes.get("edited_from") != labels.fingerprint:
        _log.warning(
            "%s: the reviewed labels come from an earlier segmentation and are not used; review "
            "the new labels, or go back to the settings of the old ones",
            labels.name,
        )
        return labels
    return reviewed


def plan_measurement(
    labels: Volume, volume: Volume, params: AttributeParams, compute: TomoComputeParams
) -> MeasurementPlan:
    """Plan the measurement of a sample.

    Parameters
    ----------
    labels
        Labels.
    volume
        Grey values that they belong to.
    params
        Lengths and choices.
    compute
        Who works on the blocks; the result does not depend on it.
    """
    from ncm_kedro.particles.measure import METHOD_VERSION

    told = (
        f"particles-{METHOD_VERSION}|{labels.fingerprint}|{volume.fingerprint}"
        f"|{params.model_dump_json()}"
    )
    return MeasurementPlan(
        name=labels.name,
        fingerprint=hashlib.sha256(told.encode()).hexdigest()[:16],
        compute=_Measuring(labels, volume, params, compute),
    )


@dataclass(frozen=True)
class _Measuring:
    labels: Volume
    volume: Volume
    params: AttributeParams
    compute: TomoComputeParams

    def __call__(self, work: Path) -> Measurement:
        from ncm_kedro.particles.specimen import take_specimen
        from ncm_kedro.particles.variants import measure_with_uncertainty

        specimen = take_specimen(self.labels, self.volume)
        return measure_with_uncertainty(specimen, self.params, self.compute, work)
