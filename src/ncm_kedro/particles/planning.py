"""Which labels are measured, and when a measurement must be made anew."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_compute import TomoComputeParams
from ncm_kedro.particles.measure import METHOD_VERSION, Measurement
from ncm_kedro.particles.plan import MeasurementPlan
from ncm_kedro.particles.specimen import take_specimen
from ncm_kedro.particles.uncertainty import measure_with_uncertainty
from ncm_kedro.tomo.volume import Volume

_log = logging.getLogger(__name__)


def choose_labels(labels: Volume, reviewed: Volume | None) -> Volume:
    """Choose the labels that were corrected by hand, where they belong to the current ones.

    Parameters
    ----------
    labels
        What the segmentation found.
    reviewed
        What came back from a review, or None. An older segmentation's review is left aside.
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
        specimen = take_specimen(self.labels, self.volume)
        return measure_with_uncertainty(specimen, self.params, self.compute, work)
