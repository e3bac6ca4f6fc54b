"""Every writer, killed under one setting and resumed under another, ends as an unbroken run.

The settings are those that do not count for the fingerprint: who works, and how the work is cut.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from instance_cases import RawArray, draw_balls, perfect_maps
from test_fusion import PerfectNetwork

import ncm_kedro.tomo.volumes.blocks as blocks_module
from ncm_kedro.datasets.particles.measurements import MeasurementFolder
from ncm_kedro.datasets.tomograms.folder import VolumeFolder
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import (
    TomoComputeParams,
    TomoFusionParams,
    TomoInstanceParams,
    TomoVolumeParams,
)
from ncm_kedro.particles.plan import plan_measurement
from ncm_kedro.tomo.fusion.fusion import plan_probability
from ncm_kedro.tomo.instances.instances import plan_labels
from ncm_kedro.tomo.review.edits import apply_edits, open_edited
from ncm_kedro.tomo.volumes.identity import identify_sources
from ncm_kedro.tomo.volumes.ingest import plan_tomogram
from ncm_kedro.tomo.volumes.volume import Volume, VolumePlan

SHAPE = (24, 52, 264)  # 18 blocks of 32, and two levels
CENTRES = [(12, 15, 16), (12, 15, 35), (14, 36, 60), (12, 30, 130), (10, 36, 200), (12, 20, 250)]


def copy_plan(plan_of_target, array, extras, **facts):
    def write(target):
        target.array[:] = array
        for name, values in extras.items():
            target.extras[name][:] = values

    kinds = {name: values.dtype for name, values in extras.items()}
    return VolumePlan("s", array.shape, array.dtype, (1.0, 1.0, 1.0), plan_of_target, write, kinds,
                      **facts)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A sample with perfect maps, its labels, and edits of them."""

    folder: Path
    grey: np.ndarray
    volume: Volume
    probability: Volume
    labels: Volume
    edited: Path


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    truth = draw_balls(SHAPE, CENTRES, [9, 10, 11, 11, 9, 11])
    prob, dist = perfect_maps(truth)
    noise = np.random.default_rng(0).normal(0, 6, SHAPE)
    grey = np.clip(np.where(truth > 0, 180, 60) + noise, 1, 254).astype(np.uint8)

    def store(name, kind, plan):
        where = VolumeFolder(filepath=str(folder / name), kind=kind)
        where.save([plan])
        return where.load()["s"]

    view = {"field_of_view": np.ones(SHAPE, np.uint8)}
    volume = store("t", "image", copy_plan("v", grey, view))
    facts = {"attributes": {"distance_step_um": 0.25, "made_from": {"tomogram": "v"}}}
    probability = store("p", "image", copy_plan("p", prob, {"distance": dist}, **facts))
    plan = plan_labels(volume, probability, TomoInstanceParams(), TomoComputeParams())
    labels = store("l", "label", plan)
    values = labels.array[:]
    values[values == 1] = 0
    edited = folder / "edited.zarr"
    zarr.create_array(edited, data=values, chunks=(32, 32, 32))
    return Sample(folder, grey, volume, probability, labels, edited)


def plan_ingest(sample, compute, volumes):
    """The volume in float64, so that 16 MB hold a part of a slab alone."""
    tall = RawArray(np.tile(sample.grey, (1, 5, 1)).astype(np.float64), (1.0, 1.0, 1.0))
    return plan_tomogram(tall, volumes, compute)


def plan_fusion(sample, compute, _):
    params = TomoFusionParams(particle_diameter_um=20.0, slab_vx=32)
    return plan_probability(sample.volume, PerfectNetwork(particle_px=20.0), params, compute)


def plan_watershed(sample, compute, _):
    return plan_labels(sample.volume, sample.probability, TomoInstanceParams(), compute)


def plan_paper(sample, compute, _):
    params = TomoInstanceParams(fusion="paper", threshold=0.35)
    return plan_labels(sample.volume, sample.probability, params, compute)


def plan_edits(sample, compute, _):
    return apply_edits(sample.labels, open_edited(sample.edited), compute)[0]


def plan_measuring(sample, compute, _):
    params = AttributeParams(crack_width=False)
    labels = replace(
        sample.labels,
        attributes={**sample.labels.attributes, "made_from": identify_sources(
            tomogram=sample.volume)},
    )  # fmt: skip
    return plan_measurement(labels, sample.volume, params, compute)


WRITERS = {
    "ingest": (plan_ingest, "image"),
    "fusion": (plan_fusion, "image"),
    "watershed": (plan_watershed, "label"),
    "paper": (plan_paper, "label"),
    "edits": (plan_edits, "label"),
    "measurement": (plan_measuring, None),
}
FIRST = {"block_edge_vx": 32, "store_edge_vx": 64, "slab_memory_mb": 16, "workers": 1}
OTHERS = [  # each by itself, as one that starts afresh hides what another one leaves
    {"block_edge_vx": 64, "workers": 2},
    {"store_edge_vx": 32},
    {"slab_memory_mb": 512},
]


def save(sample, folder, writer, settings):
    plan_of, kind = WRITERS[writer]
    compute = TomoComputeParams(
        workers=settings["workers"], block_edge_vx=settings["block_edge_vx"]
    )
    plan = plan_of(sample, compute, TomoVolumeParams(slab_memory_mb=settings["slab_memory_mb"]))
    if kind is None:
        MeasurementFolder(filepath=str(folder)).save({"s": plan})
        return
    store = {"workers": settings["workers"], "block_edge_vx": settings["store_edge_vx"]}
    VolumeFolder(filepath=str(folder), kind=kind, compute=store).save([plan])


def read(folder, writer):
    kind = WRITERS[writer][1]
    if kind is None:
        found = MeasurementFolder(filepath=str(folder)).load()["s"]
        return [found.particles, found.contacts, found.cells.valid, found.cells.filled]
    volume = VolumeFolder(filepath=str(folder), kind=kind).load()["s"]
    facts = {key: value for key, value in volume.attributes.items() if key != "files"}
    return [*(level[:] for level in volume.levels), *(e[:] for e in volume.extras.values()), facts]


def check_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if isinstance(other, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        elif isinstance(other, dict):
            assert one == other
        else:
            np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def unbroken(sample):
    known = {}

    def run(writer):
        if writer not in known:
            folder = sample.folder / f"unbroken-{writer}"
            save(sample, folder, writer, FIRST)
            known[writer] = read(folder, writer)
        return known[writer]

    return run


PAIRS = [
    pytest.param(writer, change, marks=[] if change is OTHERS[0] else pytest.mark.slow)
    for writer in WRITERS
    for change in OTHERS
    if writer == "ingest" or "slab_memory_mb" not in change
]


@pytest.mark.parametrize(("writer", "change"), PAIRS)
def test_killed_under_one_setting_resumed_under_another(
    sample, unbroken, tmp_path, monkeypatch, *, writer, change
):
    """Forth, killed; back, killed; forth again: what either left must not be mixed."""
    expected = unbroken(writer)
    write, left = blocks_module._write_result, [0]

    def record(path, result):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, result)

    other = {**FIRST, **change}
    monkeypatch.setattr(blocks_module, "_write_result", record)
    for settings, blocks in ((FIRST, 2), (other, 1), (FIRST, 5), (other, 4)):
        left[0] = blocks
        try:
            save(sample, tmp_path / "v", writer, settings)
        except KeyboardInterrupt:
            continue
    left[0] = 1 << 30
    save(sample, tmp_path / "v", writer, other)
    check_same(read(tmp_path / "v", writer), expected)
