"""The nodes of the tomography road on their data sets: what is stale, and what one sample costs."""

import os
import shutil

import numpy as np
import pytest
import tifffile
import zarr
from kedro.io import DatasetError
from scipy import ndimage

from ncm_kedro.datasets.particles.measurements import MeasurementFolder
from ncm_kedro.datasets.particles.tables import ParticleTableFolder
from ncm_kedro.datasets.tomograms.folder import ReviewFolder, VolumeFolder
from ncm_kedro.datasets.tomograms.phantoms import TomogramTruth
from ncm_kedro.datasets.tomograms.raw import RawTomogramFolder
from ncm_kedro.errors import StoreError
from ncm_kedro.params.particle_features import AttributeParams
from ncm_kedro.params.tomo_segment import (
    TomoComputeParams,
    TomoFusionParams,
    TomoInstanceParams,
    TomoReviewParams,
    TomoScoringParams,
    TomoVolumeParams,
)
from ncm_kedro.pipelines.particle_features import nodes as features
from ncm_kedro.pipelines.tomo_review import nodes as review
from ncm_kedro.pipelines.tomo_segment import nodes as segment
from ncm_kedro.tomo.detector.detector import SectionPrediction
from ncm_kedro.tomo.volumes.volume import Volumes

COMPUTE = TomoComputeParams(workers=1, block_edge_vx=64)
SHAPE = (40, 44, 48)
ATTRIBUTES = AttributeParams()


class BrightnessNetwork:
    """Finds what is brighter than half; fails on request."""

    grid, particle_px, receptive_px, prob_threshold, fingerprint = 1, 14.0, 32, 0.5, "bright"

    def predict(self, sections_nyx):
        inside = np.pad(sections_nyx > 0.5, ((0, 0), (1, 1), (1, 1)))
        dist = np.stack([ndimage.distance_transform_edt(one) for one in inside])
        dist = np.clip(dist[:, 1:-1, 1:-1], 0, 31).astype(np.float32)
        return SectionPrediction(np.clip(dist / 6, 0, 1), np.repeat(dist[:, None], 4, axis=1))


def draw(centres, radius=7):
    grid = np.indices(SHAPE)
    grey = np.full(SHAPE, 60.0)
    for centre in centres:
        grey[((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0) <= radius**2] = 180
    noise = np.random.default_rng(0).normal(0, 3, SHAPE)
    return np.clip(grey + noise, 1, 254).astype(np.uint8)


TWO = draw([(20, 12, 12), (20, 30, 34)])
THREE = draw([(20, 12, 12), (20, 30, 34), (20, 12, 36)])


class Project:
    """The data sets of a project, and the steps of a run over them."""

    def __init__(self, root):
        self.root = root
        self.raw = root / "raw"
        self.raw.mkdir(exist_ok=True)
        for name, kind in (("tomograms", "image"), ("probability", "image"), ("labels", "label")):
            setattr(self, name, VolumeFolder(filepath=str(root / name), kind=kind))
        self.reviewed = VolumeFolder(filepath=str(root / "reviewed"), kind="label",
                                     may_be_empty=True, only_planned=True)  # fmt: skip
        self.edits = ReviewFolder(filepath=str(root / "review"), edits=str(root / "edits"))
        self.measurements = MeasurementFolder(filepath=str(root / "measurements"))
        self.attributes = ParticleTableFolder(filepath=str(root / "attributes"))
        self.detector = BrightnessNetwork()

    def write(self, name, values):
        tifffile.imwrite(self.raw / f"{name}.tif", values)
        (self.raw / f"{name}.yml").write_text("voxel_size_um: 0.4")

    def ingest(self):
        raw = RawTomogramFolder(filepath=str(self.raw)).load()
        self.tomograms.save(segment.ingest_tomograms(raw, Volumes({}), TomoVolumeParams(), COMPUTE))
        self.table = segment.tabulate_samples(raw, Volumes({}), self.tomograms.load())

    def segment(self):
        self.ingest()
        fusion = TomoFusionParams(particle_diameter_um=5.6, slab_vx=32)
        self.probability.save(segment.fuse_directions(
            self.tomograms.load(), self.table, self.detector, fusion, COMPUTE))  # fmt: skip
        self.labels.save(segment.label_particles(
            self.tomograms.load(), self.table, self.probability.load(), TomoInstanceParams(),
            COMPUTE))  # fmt: skip
        self.particles = segment.list_labelled_particles(
            self.tomograms.load(), self.table, self.probability.load(), self.labels.load(), COMPUTE
        )

    def measure(self):
        self.measurements.save(features.measure_particles(
            tomograms=self.tomograms.load(), table=self.table, labels=self.labels.load(),
            reviewed=self.reviewed.load(), edits=self.edits.load(), attributes=ATTRIBUTES,
            compute=COMPUTE))  # fmt: skip
        return self.tabulate()

    def tabulate(self):
        tables = features.tabulate_particles(self.measurements.load(), self.table, ATTRIBUTES)
        self.attributes.save(tables[0])
        return self.attributes.load()

    def review(self):
        plans, _ = review.import_edits(self.labels.load(), self.table, self.edits.load(), COMPUTE)
        self.reviewed.save(plans)

    def plan_projects(self):
        return review.plan_projects(
            tomograms=self.tomograms.load(), table=self.table, probability=self.probability.load(),
            labels=self.labels.load(), particles=self.particles, review=TomoReviewParams(),
        )  # fmt: skip

    def edit(self, sample, saved_at="noon"):
        labels = self.labels.load()[sample]
        values = labels.array[:]
        values[values == 1] = 0
        path = self.root / "edits" / sample / "edited_labels.zarr"
        zarr.create_array(path, data=values, overwrite=True, attributes={
            "original_fingerprint": labels.fingerprint, "saved_at": saved_at})  # fmt: skip


def make_segmented(tmp_path_factory, *names):
    project = Project(tmp_path_factory.mktemp("segmented"))
    for name in names:
        project.write(name, TWO)
    project.segment()
    return project


def copy_project(made, root):
    shutil.copytree(made.root, root, dirs_exist_ok=True)
    project = Project(root)
    project.table, project.particles = made.table, made.particles
    return project


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    return make_segmented(tmp_path_factory, "s")


@pytest.fixture(scope="module")
def segmented_pair(tmp_path_factory):
    return make_segmented(tmp_path_factory, "a", "b")


@pytest.fixture
def project(segmented, tmp_path):
    """A project of the sample s, segmented."""
    return copy_project(segmented, tmp_path)


@pytest.fixture
def pair(segmented_pair, tmp_path):
    """A project of the samples a and b, segmented."""
    return copy_project(segmented_pair, tmp_path)


def count(labels):
    return len(np.unique(labels.array[:])) - 1


def test_a_raw_file_replaced_under_its_old_size_and_time_is_segmented_again(project):
    state = os.stat(project.raw / "s.tif")
    assert count(project.labels.load()["s"]) == 2
    project.write("s", THREE)
    os.utime(project.raw / "s.tif", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert os.stat(project.raw / "s.tif").st_size == state.st_size
    project.segment()
    assert count(project.labels.load()["s"]) == 3


def test_labels_of_an_older_tomogram_are_refused_by_everything_that_follows(project):
    assert len(project.measure()["s"]) == 2
    project.write("s", THREE)
    project.ingest()
    with pytest.raises(StoreError, match="another tomogram"):
        project.tabulate()
    with pytest.raises(DatasetError, match=r"another tomogram.*run tomo_segment"):
        project.measure()
    with pytest.raises(DatasetError, match="another tomogram"):
        project.labels.save(segment.label_particles(
            project.tomograms.load(), project.table, project.probability.load(),
            TomoInstanceParams(), COMPUTE))  # fmt: skip
    project.segment()
    assert len(project.measure()["s"]) == 3


def test_a_list_of_other_labels_is_refused(project):
    listed = project.particles
    project.write("s", THREE)
    project.segment()
    project.particles = listed
    with pytest.raises(StoreError, match="another labels"):
        project.plan_projects()


@pytest.mark.parametrize("stage", ["fusion", "labels", "list"])
def test_a_sample_that_fails_late_is_listed_and_the_others_are_finished(pair, monkeypatch, stage):
    shutil.rmtree(pair.root / "labels")
    module, function = {
        "fusion": ("ncm_kedro.tomo.fusion.fusion", "plan_probability"),
        "labels": ("ncm_kedro.tomo.instances.instances", "plan_labels"),
        "list": ("ncm_kedro.tomo.instances.particle_list", "list_particles"),
    }[stage]
    original = getattr(__import__(module, fromlist=[function]), function)

    def fail(*args):
        if any(getattr(one, "name", "") == "a" for one in args):
            raise ArithmeticError("a surprise")
        return original(*args)

    monkeypatch.setattr(f"{module}.{function}", fail)
    pair.segment()
    assert set(pair.particles["sample"]) == {"b"}
    views, unseen = segment._view_samples(
        pair.tomograms.load(), pair.table, pair.probability.load(),
        pair.labels.load(), pair.particles,
    )  # fmt: skip
    assert [view.sample for view in views] == ["b"]
    assert not unseen
    if stage != "list":
        assert "a surprise" in pair.labels.load().rejections["a"]
        tables = pair.measure()
        assert list(tables) == ["b"]
        assert "a surprise" in tables.rejections["a"]
    else:
        assert "a surprise" in pair.particles.attrs["rejections"]["a"]


def test_edits_count_as_long_as_they_are_there(project):
    project.edit("s")
    with pytest.raises(DatasetError, match="run tomo_review"):
        project.measure()
    project.review()
    assert len(project.measure()["s"]) == 1
    project.edit("s", saved_at="one")
    with pytest.raises(DatasetError, match="saved at one"):
        project.measure()
    (project.root / "edits").rename(project.root / "away")
    assert len(project.measure()["s"]) == 2
    project.review()
    assert project.reviewed.load() == {}


def test_edits_of_an_earlier_segmentation_are_not_taken_for_the_present_one(pair, caplog):
    pair.edit("a")
    pair.edit("b")
    pair.write("a", THREE)
    pair.segment()
    pair.review()
    assert list(pair.reviewed.load()) == ["b"]
    caplog.clear()
    tables = pair.measure()
    assert {name: len(table) for name, table in tables.items()} == {"a": 3, "b": 1}
    assert "earlier segmentation" in caplog.text


def test_edits_among_results_are_not_overlooked(project):
    (project.root / "review" / "s" / "edited_labels.zarr").mkdir(parents=True)
    with pytest.raises(DatasetError, match="move this folder"):
        project.edits.load()


def test_a_truth_that_is_wrong_costs_no_sample(pair, tmp_path):
    folder = tmp_path / "truth"
    folder.mkdir()
    known = np.asarray(pair.labels.load()["a"].array[:])
    tifffile.imwrite(folder / "a_labels.tif", known)
    tifffile.imwrite(folder / "b_labels.tif", known[:7])
    scores, metrics = segment.score_methods(
        table=pair.table, labels=pair.labels.load(), baseline_labels=Volumes({}),
        truth=TomogramTruth(folder), scoring=TomoScoringParams(min_volume_um3=0),
    )  # fmt: skip
    assert scores["sample"].tolist() == ["a"]
    assert set(scores.attrs["rejections"]) == {"b"}
    assert "a.default.ap_50" in metrics
