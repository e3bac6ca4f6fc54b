"""Tables of particles on disk: units in the file, nulls, damage, full disks, rejected samples."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kedro.io import DatasetError

from ncm_kedro import __version__
from ncm_kedro.datasets.particles.tables import ParticleTableFolder
from ncm_kedro.errors import SettingsError
from ncm_kedro.hooks import ContentHashed
from ncm_kedro.particles.columns import ATTRIBUTE_NAMES, ATTRIBUTES
from ncm_kedro.particles.plan import ParticleTables

SETTINGS = {"closing_um": 0.4, "packing_window_um": None}


def make_table(sample="cyc10", preset="corrected", seed=0, rows=40):
    random = np.random.default_rng(seed)
    values = random.random((rows, len(ATTRIBUTE_NAMES)))
    values[random.random(values.shape) < 0.2] = np.nan
    table = pd.DataFrame(values, columns=list(ATTRIBUTE_NAMES))
    table.insert(0, "sample", pd.Series([sample] * rows, dtype="str"))
    table.insert(1, "particle_id", np.arange(1, rows + 1))
    table.insert(2, "touches_border", random.random(rows) < 0.5)
    table["damage_uncertainty"] = random.random(rows)
    table["flags"] = pd.Series([""] * rows, dtype="str")
    table.attrs = {"preset": preset, "settings": SETTINGS}
    return table


@pytest.fixture
def folder(tmp_path):
    return ParticleTableFolder(filepath=str(tmp_path / "deep" / "a"), columns="attributes")


def file_of(folder, sample="cyc10"):
    return folder._filepath / f"{sample}.parquet"


@pytest.mark.parametrize("rows", [40, 1, 0])
def test_round_trip(folder, rows):
    tables = {"cyc50": make_table("cyc50", seed=1), "cyc10": make_table(rows=rows)}
    folder.save(tables)
    loaded = folder.load()
    assert list(loaded) == ["cyc10", "cyc50"]
    assert loaded.rejections == {}
    for name, table in tables.items():
        pd.testing.assert_frame_equal(loaded[name], table)
        assert loaded[name].attrs == {"preset": "corrected", "settings": SETTINGS}
    assert isinstance(folder, ContentHashed)


def test_files_say_units_names_and_settings(folder):
    folder.save({"cyc10": make_table()})
    schema = pq.read_schema(file_of(folder))
    for attribute in ATTRIBUTES:
        assert schema.field(attribute.name).metadata == {
            b"unit": attribute.unit.encode(),
            b"paper_name": attribute.paper_name.encode(),
            b"paper_id": str(attribute.paper_id).encode(),
        }
    assert schema.field("damage_uncertainty").metadata == {b"unit": b"1"}
    assert schema.metadata[b"sample"] == b"cyc10"
    assert schema.metadata[b"preset"] == b"corrected"
    assert json.loads(schema.metadata[b"settings"]) == SETTINGS
    assert schema.metadata[b"ncm_kedro_version"] == __version__.encode()
    file = pq.ParquetFile(file_of(folder))
    column = file.metadata.row_group(0).column(schema.get_field_index("damage"))
    assert column.compression == "ZSTD"
    damage = make_table()["damage"]
    assert file.read()["damage"].null_count == damage.isna().sum() > 0
    assert not np.isnan(file.read()["damage"].drop_null().to_numpy()).any()


def test_the_unit_of_grey_values_stands_in_the_file(folder):
    table = make_table()
    table.attrs["grey_unit"] = "e/A3"
    folder.save({"cyc10": table})
    schema = pq.read_schema(file_of(folder))
    assert schema.field("electron_density").metadata[b"unit"] == b"e/A3"
    assert schema.field("homogeneity").metadata[b"unit"] == b"1/(e/A3)"
    assert folder.load()["cyc10"].attrs["grey_unit"] == "e/A3"


def test_the_paper_preset_gives_isotropy_in_degrees(folder):
    folder.save({"cyc10": make_table(preset="paper")})
    field = pq.read_schema(file_of(folder)).field("orientation_isotropy")
    assert field.metadata[b"unit"] == b"degree"


def test_plain_columns_get_units_by_their_names(tmp_path):
    folder = ParticleTableFolder(filepath=str(tmp_path / "p"))
    table = pd.DataFrame({
        "depth_um": [1.0], "area_um2": [1.0], "size_um3": [1.0], "tilt_deg": [1.0], "n": [1],
        "x_start_vx": [1], "width_um_uncertainty": [1.0], "unknown_um": [None],
    })  # fmt: skip
    folder.save({"a": table})
    schema = pq.read_schema(file_of(folder, "a"))
    units = {field.name: field.metadata[b"unit"].decode() for field in schema}
    assert list(units.values()) == ["um", "um2", "um3", "degree", "1", "voxel", "um", "um"]
    assert folder.load()["a"]["unknown_um"].dtype == float


def test_the_same_tables_give_the_same_bytes_and_hash(folder):
    assert folder.content_hash() is None
    folder.save({"cyc10": make_table()})
    content, known = file_of(folder).read_bytes(), folder.content_hash()
    folder.save({"cyc10": make_table()})
    assert (file_of(folder).read_bytes(), folder.content_hash()) == (content, known)
    folder.save({"cyc10": make_table(seed=3)})
    assert folder.content_hash() != known


def test_other_samples_are_left_alone_and_set_aside_ones_left_out(folder):
    folder.save({"cyc10": make_table(), "cyc50": make_table("cyc50")})
    known = folder.content_hash()
    folder.save(ParticleTables({"cyc10": make_table()}, {"cyc50": "NaN in it"}))
    loaded = folder.load()
    assert list(loaded) == ["cyc10"]
    assert loaded.rejections == {"cyc50": "NaN in it"}
    assert folder.content_hash() != known
    folder.save({"cyc10": make_table()})
    assert list(folder.load()) == ["cyc10", "cyc50"]


def test_nothing_to_save_and_nothing_to_load(folder):
    assert not folder.exists()
    with pytest.raises(DatasetError, match="found no table; expected"):
        folder.load()
    folder.save({"cyc10": make_table()})
    assert folder.exists()
    with pytest.raises(DatasetError, match="no table to save; b: cut off"):
        folder.save(ParticleTables({}, {"b": "cut off"}))
    assert list(folder.load()) == ["cyc10"]


def test_every_flipped_byte_of_values_is_found(folder):
    folder.save({"cyc10": make_table(rows=3)})
    path, table = file_of(folder), make_table(rows=3)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in range(0, footer, 29):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        try:
            pd.testing.assert_frame_equal(folder.load()["cyc10"], table)
        except DatasetError as error:
            assert "cyc10.parquet: found a table that cannot be read" in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [b"", b"PAR1", None, "half", "other format"])
def test_a_damaged_file_is_named(folder, content):
    folder.save({"cyc10": make_table()})
    path = file_of(folder)
    if content == "half":
        path.write_bytes(path.read_bytes()[:-400])
    elif content == "other format":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    else:
        path.write_bytes(content if content is not None else b"x" * 4000)
    with pytest.raises(DatasetError, match=r"cyc10.parquet: found a table that cannot be read"):
        folder.load()


def test_a_damaged_list_is_named(folder):
    folder.save({"cyc10": make_table()})
    (folder._filepath / "rejections.json").write_text("{")
    with pytest.raises(DatasetError, match=r"rejections.json: found a list that cannot be parsed"):
        folder.load()


def test_a_table_that_cannot_be_stored_changes_nothing(folder):
    folder.save({"a": make_table("a"), "b": make_table("b")})
    bad = make_table("b").assign(flags=[object()] * 40)
    with pytest.raises(DatasetError):
        folder.save({"a": make_table("a", seed=1), "b": bad})
    pd.testing.assert_frame_equal(folder.load()["a"], make_table("a"))


def test_preview_and_settings(folder):
    folder.save({"cyc10": make_table()})
    shown = folder.preview(nrows=2)
    assert shown["columns"] == list(make_table())
    assert [row[1] for row in shown["data"]] == [1, 2]
    with pytest.raises(SettingsError, match="columns: atributes"):
        ParticleTableFolder(filepath="x", columns="atributes")
