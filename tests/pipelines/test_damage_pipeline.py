"""``damage_attribution`` through the catalog of conf/base, on tables with simulated drivers."""

import logging
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from ncm_kedro.datasets.tomograms.phantoms import TomogramTruth
from ncm_kedro.params.damage_attribution import (
    AttributionParams,
    AutoencoderParams,
    DamageCorrelationParams,
    DamageForestParams,
    DamageTableParams,
    LinkParams,
    PaperForestParams,
)
from ncm_kedro.particles.plan import ParticleTables
from ncm_kedro.pipelines.damage_attribution import create_pipeline
from ncm_kedro.pipelines.damage_attribution.pipeline import TABLES
from ncm_kedro.plotting.damage.tables import FIGURES
from table_phantoms.params import ParticleTableParams
from table_phantoms.tables import draw_particle_tables

CONF = Path(__file__).parents[2] / "conf" / "base" / "damage_attribution" / "catalog.yml"
PARAMS = {
    "table": DamageTableParams(),
    "forest": DamageForestParams(trees=20, max_leaves=24),
    "attribution": AttributionParams(
        repeats=1, folds=3, bootstraps=20, permutations=19, perturbations=2, resampled_trees=6
    ),
    "paper": PaperForestParams(draws=2, seeds=2, preset="code", max_explained=20),
    "autoencoder": AutoencoderParams(max_dimensions=3, repeats=2, steps=20, hidden=8),
    "links": LinkParams(),
    "correlation": DamageCorrelationParams(draws=2, resamples=100),
}


def make_catalog(root, phantom, truth):
    """Make the catalog of conf/base with a folder as root, artifacts not logged to MLflow."""
    entries = yaml.safe_load(CONF.read_text().replace("${globals:data_root}", str(root)))
    made_in_memory = ("nmc_damage_attribution", "damage_metrics")
    for unwanted in made_in_memory:
        del entries[unwanted]
    plain = {name: entry.get("dataset", entry) for name, entry in entries.items()}
    made = DataCatalog.from_config(plain)
    given = {
        "particle_attributes": ParticleTables(phantom.attributes, {"cyc90": "not labelled"}),
        "particle_details": ParticleTables(phantom.details, {}),
        "particle_contacts": ParticleTables(phantom.contacts, {}),
        "tomogram_table": phantom.table,
        "tomogram_truth": TomogramTruth(truth),
        **{f"params:damage_attribution.{name}": value for name, value in PARAMS.items()},
    }
    for name, value in given.items():
        made[name] = MemoryDataset(value, copy_mode="assign")
    for name in (*made_in_memory, "damage_figures"):
        made[name] = MemoryDataset(copy_mode="assign")
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The catalog after a run, and the folder that it wrote to."""
    root, truth = tmp_path_factory.mktemp("damage"), tmp_path_factory.mktemp("truth")
    phantom = draw_particle_tables(ParticleTableParams(particles=260), 3)
    for sample, table in phantom.attributes.items():
        known = table[["particle_id", "z_um"]].assign(
            depth_um=table["z_um"],
            simulated_damage=phantom.truth[sample]["simulated_damage"].to_numpy(),
            contact_neighbours=phantom.details[sample]["touching_particles"].to_numpy(),
            diameter_um=phantom.details[sample]["equivalent_diameter_um"].to_numpy(),
        )
        known.to_parquet(truth / f"{sample}_particles.parquet")
    catalog = make_catalog(root, phantom, truth)
    logging.getLogger("kedro").setLevel(logging.WARNING)
    SequentialRunner().run(create_pipeline(), catalog)
    return catalog, root


def test_every_table_and_every_figure_is_made(finished):
    catalog, root = finished
    for name in TABLES:
        assert (root / f"07_model_output/damage/{name}.parquet").is_file()
    for name in FIGURES:
        assert catalog.load("damage_figures")[f"{name}.png"].get_axes()


def test_planted_drivers_are_found(finished):
    catalog, _ = finished
    truth = catalog.load("damage_truth")
    assert truth["sample"].unique().tolist() == ["cyc10", "cyc50"]
    assert truth["direction_agrees"].all()
    assert truth["rank"].max() <= 4
    scores = catalog.load("damage_scores")
    assert scores[scores["model"] == "forest"]["explains"].all()


def test_the_page_stands_alone_and_names_what_was_set_aside(finished):
    _, root = finished
    page = (root / "08_reporting/damage/report.html").read_text()
    assert "cyc90" in page
    assert "not labelled" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_the_release_is_promoted_because_it_explains(finished):
    catalog, _ = finished
    release = catalog.load("nmc_damage_attribution")
    assert release.promotion.promoted
    assert set(release.metrics) == {"r2_cyc10", "r2_cyc50"}
    assert list(release.example.columns) == list(release.model.inputs)
    assert "damage" not in release.example
    assert release.tags["preset"] == catalog.load("damage_inputs")["preset"] == "corrected"


def test_metrics_are_those_of_the_table(finished):
    catalog, _ = finished
    metrics = catalog.load("damage_metrics")
    scores = catalog.load("damage_scores").set_index(["sample", "model"])
    assert len(metrics) == 2 * len(scores)
    assert metrics["cyc10.forest.r2"]["value"] == scores.at[("cyc10", "forest"), "r2"]


def test_a_sample_of_an_earlier_run_is_not_used(tmp_path):
    phantom = draw_particle_tables(ParticleTableParams(particles=160), 3)
    catalog = make_catalog(tmp_path, phantom, tmp_path)
    present = phantom.table[phantom.table["sample"] == "cyc10"]
    catalog["tomogram_table"] = MemoryDataset(present)
    SequentialRunner().run(create_pipeline().only_nodes("prepare_damage_table"), catalog)
    rows = catalog.load("damage_particles")
    assert isinstance(rows, pd.DataFrame)
    assert rows["sample"].unique().tolist() == ["cyc10"]
