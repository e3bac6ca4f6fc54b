"""Raw scans as users lay them down, good and bad."""

import h5py
import numpy as np
import pytest
import tifffile
from kedro.io import DatasetError

from ncm_kedro.datasets.projections.folder import RawScanFolder, open_scan
from ncm_kedro.datasets.projections.phantoms import SyntheticScanFolder
from ncm_kedro.errors import TomogramError
from ncm_kedro.params.holo import HoloPhantomParams

COUNT, SHAPE = 12, (6, 10)
CONE = "energy_kev: 17.1\nfocus_sample_mm: [5.11, 5.464]\nfocus_detector_mm: 1217\npixel_um: 3\n"
ANGLES = "angles_deg: [0, 165]\n"


def make_stack(seed=0, count=COUNT):
    return np.random.default_rng(seed).integers(200, 900, (count, *SHAPE)).astype(np.uint16)


def write_images(folder, suffix=".tif", seed=0, count=COUNT, flat_shape=SHAPE):
    folder.mkdir(parents=True)
    import fabio

    def write(name, image):
        if suffix == ".edf":
            fabio.edfimage.EdfImage(data=image).write(str(folder / f"{name}.edf"))
        else:
            tifffile.imwrite(folder / f"{name}.tif", image)

    for number, image in enumerate(make_stack(seed, count)):
        write(f"proj_{number}", image)  # without leading zeros: natural order
    write("flat_0", np.full(flat_shape, 1000, np.uint16))
    write("dark_0", np.full(flat_shape, 100, np.uint16))


def write_dxchange(path, *, flat_shape=SHAPE, theta=COUNT):
    with h5py.File(path, "w") as file:
        file["exchange/data"] = make_stack()
        file["exchange/data_white"] = np.full((3, *flat_shape), 1000, np.uint16)
        file["exchange/data_dark"] = np.full((2, *flat_shape), 100, np.uint16)
        file["exchange/theta"] = np.arange(theta) * 15.0
        file["exchange/theta"].attrs["units"] = "deg"


def write_nxtomo(path, entries=2):
    """Written by the field's own library, whose version 3 wants quantities with units."""
    import pint
    from nxtomo import NXtomo

    unit = pint.get_application_registry()
    for number in range(entries):
        scan = NXtomo()
        scan.instrument.detector.data = np.concatenate(
            [np.full((2, *SHAPE), 100, np.uint16), np.full((2, *SHAPE), 1000, np.uint16),
             make_stack(number)]
        )  # fmt: skip
        scan.instrument.detector.image_key_control = [2, 2, 1, 1, *[0] * COUNT]
        scan.instrument.detector.x_pixel_size = scan.instrument.detector.y_pixel_size = 3 * unit.um
        scan.instrument.detector.distance = (1.217 - 0.005 * (1 + number)) * unit.m
        scan.instrument.source.distance = -0.005 * (1 + number) * unit.m
        scan.sample.rotation_angle = np.r_[np.zeros(4), np.arange(COUNT) * 15.0] * unit.degree
        scan.energy = 17.1 * unit.keV
        scan.save(str(path), f"entry{number:04d}")


def load(folder, name="a"):
    return RawScanFolder(filepath=str(folder)).load()[name]


def test_nxtomo_says_all_there_is(tmp_path):
    write_nxtomo(tmp_path / "a.nx")
    scan = load(tmp_path)
    assert scan.shape_ayx == (COUNT, *SHAPE)
    assert scan.geometry.energy_kev == pytest.approx(17.1)
    assert scan.geometry.pixel_um == pytest.approx((3 * 5 / 1217, 3 * 10 / 1217))
    assert scan.geometry.distance_um[0] == pytest.approx(5000 * 1212 / 1217)
    np.testing.assert_allclose(scan.angles_deg, np.arange(COUNT) * 15)
    for number, one in enumerate(scan.distances):
        np.testing.assert_array_equal(one.read(one.frames[[3, 1]]), make_stack(number)[[3, 1]])
        assert (one.read(one.flat_frames) == 1000).all()
        assert (one.read(one.dark_frames) == 100).all()


@pytest.mark.parametrize("suffix", [".tif", ".edf"])
def test_folders_of_images_a_distance_each(tmp_path, suffix):
    for number in range(2):
        write_images(tmp_path / "a" / f"d{number + 1}", suffix, seed=number)
    (tmp_path / "a.yml").write_text(CONE + ANGLES + "cycles: 50\n")
    scan = load(tmp_path)
    one = scan.distances[1]
    np.testing.assert_array_equal(one.read(one.frames), make_stack(1))
    assert one.read_flats(one.flat_frames)[0, 0, 0] == 1000
    assert scan.angles_deg[-1] == 165
    assert scan.attributes == {"cycles": 50}


def test_a_single_distance_in_dxchange_and_absorption(tmp_path):
    write_dxchange(tmp_path / "a.h5")
    (tmp_path / "a.yml").write_text("absorption: true\npixel_um: 1.5\n")
    scan = load(tmp_path)
    assert scan.is_absorption
    assert scan.geometry.voxel_um == 1.5
    one = scan.distances[0]
    assert one.read_darks(one.dark_frames).shape == (2, *SHAPE)


def test_content_and_notes_make_the_identity(tmp_path):
    write_images(tmp_path / "a" / "d1")
    write_images(tmp_path / "a" / "d2", seed=1)
    notes = tmp_path / "a.yml"
    notes.write_text(CONE + ANGLES)
    first = load(tmp_path).fingerprint
    assert load(tmp_path).fingerprint == first
    notes.write_text(CONE + "angles_deg: [0, 166]\n")
    second = load(tmp_path).fingerprint
    tifffile.imwrite(tmp_path / "a" / "d1" / "proj_4.tif", np.ones(SHAPE, np.uint16))
    assert len({first, second, load(tmp_path).fingerprint}) == 3


def test_a_detector_that_moves_while_the_sample_stands(tmp_path):
    write_nxtomo(tmp_path / "a.nx")
    with h5py.File(tmp_path / "a.nx", "r+") as file:
        for number, behind_m in enumerate([1.2, 2.4]):
            file[f"entry{number:04d}/instrument/source/distance"][...] = -145.0
            file[f"entry{number:04d}/instrument/detector/distance"][...] = behind_m
    geometry = load(tmp_path).geometry
    assert geometry.distance_um == pytest.approx((145e6 * 1.2 / 146.2, 145e6 * 2.4 / 147.4))
    assert geometry.pixel_um == pytest.approx((3 * 145 / 146.2, 3 * 145 / 147.4))


def test_a_pixel_at_the_sample_is_not_magnified_again(tmp_path):
    write_nxtomo(tmp_path / "a.nx")
    with h5py.File(tmp_path / "a.nx", "r+") as file:
        for number in range(2):
            detector = file[f"entry{number:04d}/instrument/detector"]
            for name in ("x_pixel_size", "y_pixel_size"):
                detector.pop(name)
            file[f"entry{number:04d}/sample/x_pixel_size"] = 0.01 * (1 + number)
            file[f"entry{number:04d}/sample/x_pixel_size"].attrs["units"] = "um"
    assert load(tmp_path).geometry.pixel_um == pytest.approx((0.01, 0.02))
    with h5py.File(tmp_path / "a.nx", "r+") as file:
        for number in range(2):
            file[f"entry{number:04d}/instrument/detector/x_pixel_size"] = 3.0
            file[f"entry{number:04d}/instrument/detector/x_pixel_size"].attrs["units"] = "um"
    with pytest.raises(DatasetError, match="fit together"):
        load(tmp_path)  # 3 um * 5 / 1217 are not 0.01 um
    (tmp_path / "a.yml").write_text("pixel_um: 3.0\n")
    assert load(tmp_path).geometry.pixel_um == pytest.approx((3 * 5 / 1217, 3 * 10 / 1217))


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        ("instrument/beam/incident_energy", 20.0, "energy_kev"),
        ("instrument/detector/y_pixel_size", 6, "square"),
    ],
)
def test_distances_that_contradict_each_other(tmp_path, entry, value, told):
    write_nxtomo(tmp_path / "a.nx")
    with h5py.File(tmp_path / "a.nx", "r+") as file:
        file[f"entry0001/{entry}"][...] = value
    with pytest.raises(DatasetError, match=told):
        load(tmp_path)


def test_binning_that_differs_between_distances(tmp_path):
    write_nxtomo(tmp_path / "a.nx")
    with h5py.File(tmp_path / "a.nx", "r+") as file:
        for axis in "xy":
            file[f"entry0001/instrument/detector/{axis}_pixel_size"][...] = 6
    with pytest.raises(DatasetError, match="detector pixel"):
        load(tmp_path)


def test_entries_come_in_natural_order_and_alignment_images_do_not_count(tmp_path):
    write_nxtomo(tmp_path / "a.nx")
    with h5py.File(tmp_path / "a.nx", "r+") as file:
        file.move("entry0000", "entry2")
        file.move("entry0001", "entry10")
        for name in ("entry2", "entry10"):
            detector = file[f"{name}/instrument/detector"]
            for key in ("image_key", "image_key_control"):
                detector.pop(key, None)
            detector["image_key"] = np.array([2, 2, 1, 1, *[0] * COUNT])
            detector["image_key_control"] = np.array([2, 2, 1, 1, *[0] * (COUNT - 2), -1, -1])
    scan = load(tmp_path)
    assert scan.geometry.distance_um[0] < scan.geometry.distance_um[1]
    assert scan.shape_ayx[0] == COUNT - 2
    assert scan.angles_deg[-1] == (COUNT - 3) * 15


def test_files_that_a_virtual_data_set_joins_belong_to_the_identity(tmp_path):
    write_dxchange(tmp_path / "a.h5")
    parts = tmp_path / "parts"
    parts.mkdir()
    layout = h5py.VirtualLayout((COUNT, *SHAPE), np.uint16)
    for number in range(2):
        with h5py.File(parts / f"{number}.h5", "w") as part:
            part["data"] = make_stack(number, COUNT // 2)
        first = number * COUNT // 2
        layout[first : first + COUNT // 2] = h5py.VirtualSource(
            f"parts/{number}.h5", "data", (COUNT // 2, *SHAPE)
        )
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["exchange/data"]
        file["exchange"].create_virtual_dataset("data", layout)
    (tmp_path / "a.yml").write_text("absorption: true\npixel_um: 1.5\n")
    parts.rename(tmp_path / ".parts")
    with pytest.raises(DatasetError, match="not there"):
        load(tmp_path)
    (tmp_path / ".parts").rename(parts)
    before = open_scan("a", tmp_path / "a.h5", "sampled").fingerprint
    with h5py.File(parts / "1.h5", "r+") as part:
        part["data"][0] = 1
    assert open_scan("a", tmp_path / "a.h5", "sampled").fingerprint != before


def test_flats_and_darks_as_esrf_names_them(tmp_path):
    write_images(tmp_path / "a" / "d1", ".edf")
    folder = tmp_path / "a" / "d1"
    (folder / "flat_0.edf").rename(folder / "refHST0000.edf")
    (folder / "refHST0012.edf").write_bytes((folder / "refHST0000.edf").read_bytes())
    (folder / "darkend0000.edf").write_bytes((folder / "dark_0.edf").read_bytes())
    (tmp_path / "a.yml").write_text(ANGLES + "absorption: true\npixel_um: 1.5\n")
    one = load(tmp_path).distances[0]
    assert one.flat_places.tolist() == [0, 12]
    assert len(one.dark_frames) == 1
    (folder / "dark_0.edf").unlink()
    with pytest.raises(DatasetError, match="sum of darks"):
        load(tmp_path)


def test_a_projection_of_another_size_is_named(tmp_path):
    write_images(tmp_path / "a")
    (tmp_path / "a.yml").write_text(ANGLES + "absorption: true\npixel_um: 1.5\n")
    tifffile.imwrite(tmp_path / "a" / "proj_5.tif", np.ones((6, 9), np.uint16))
    one = load(tmp_path).distances[0]
    with pytest.raises(TomogramError, match=r"proj_5\.tif"):
        one.read(one.frames[4:6])


def test_two_scans_of_one_name(tmp_path):
    for name in ("a.h5", "a.nx", "b.h5"):
        write_dxchange(tmp_path / name)
    for name in ("a", "b"):
        (tmp_path / f"{name}.yml").write_text("absorption: true\npixel_um: 1.5\n")
    scans = RawScanFolder(filepath=str(tmp_path)).load()
    assert list(scans) == ["b"]
    assert "a.nx" in scans.rejected["a"]


def test_what_has_no_unit_and_what_has_no_dark(tmp_path):
    write_dxchange(tmp_path / "a.h5")
    (tmp_path / "a.yml").write_text("absorption: true\npixel_um: 1.5\n")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["exchange/data_dark"]
        file["exchange/theta"][:] = np.arange(COUNT) * np.pi / COUNT
        del file["exchange/theta"].attrs["units"]
    with pytest.raises(DatasetError, match="radians"):
        load(tmp_path)
    (tmp_path / "a.yml").write_text("absorption: true\npixel_um: 1.5\nangles_deg: [0, 165]\n")
    scan = load(tmp_path)
    assert scan.angles_deg[-1] == 165
    assert "no darks" in " ".join(scan.warnings)


CASES = {
    "no_energy": (ANGLES + CONE.replace("energy_kev: 17.1\n", ""), {}, "energy_kev"),
    "no_angles": (CONE, {}, r"angles_deg: \[0, 165\]"),
    "no_distances": (ANGLES + "energy_kev: 17.1\npixel_um: 3\n", {}, "focus_sample_mm"),
    "no_pixel": (ANGLES + CONE.replace("pixel_um: 3\n", ""), {}, "pixel_um"),
    "too_many_distances": (ANGLES + CONE.replace("5.464]", "5.464, 6.879]"), {}, "3 values"),
    "a_distance_twice": (ANGLES + CONE.replace("5.464]", "5.11]"), {}, "distances that differ"),
    "beyond_the_detector": (ANGLES + CONE.replace("1217", "5.2"), {}, "before the detector"),
    "fewer_projections": (ANGLES + CONE, {"count": COUNT - 1}, "12, 11 projections"),
    "flats_of_another_size": (ANGLES + CONE, {"flat_shape": (6, 11)}, r"\(6, 11\)"),
    "energy_in_ev": (ANGLES + CONE.replace("17.1", "17100"), {}, "17100 keV"),
    "centre_outside": (ANGLES + CONE + "centre_px: 12\n", {}, "centre_px"),
    "absorption_of_two": (ANGLES + CONE + "absorption: true\n", {}, "2 distances"),
    "propagation_of_nothing": (ANGLES + CONE + "propagation_mm: [0, 3]\n", {}, "greater than 0"),
    "a_number_missing": (ANGLES + CONE, {"without": 5}, r"proj_4\.tif followed by proj_6\.tif"),
    "images_beside_folders": (ANGLES + CONE, {"beside": True}, "images beside"),
    "unknown_key": (ANGLES + CONE + "engery: 3\n", {}, "engery"),
    "one_angle": (CONE + "angles_deg: [10, 10]\n", {}, "12 projections at one angle"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_bad_scan_costs_itself_alone_and_says_what_to_do(tmp_path, name):
    notes, second, told = CASES[name]
    for sample in ("bad", "good"):
        write_images(tmp_path / sample / "d1")
        spoilt = dict(second if sample == "bad" else {})
        without, beside = spoilt.pop("without", None), spoilt.pop("beside", False)
        write_images(tmp_path / sample / "d2", seed=1, **spoilt)
        if without:
            for number in (1, 2):
                (tmp_path / sample / f"d{number}" / f"proj_{without}.tif").unlink()
        if beside:
            tifffile.imwrite(tmp_path / sample / "preview.tif", np.ones(SHAPE, np.uint16))
        text = notes if sample == "bad" else ANGLES + CONE
        (tmp_path / f"{sample}.yml").write_text(text)
    scans = RawScanFolder(filepath=str(tmp_path)).load()
    assert list(scans) == ["good"]
    assert "What to do" in scans.rejected["bad"]
    with pytest.raises(DatasetError, match=told):
        raise_alone(tmp_path)


def raise_alone(folder):
    for path in [folder / "good.yml", *(folder / "good").rglob("*.*")]:
        path.unlink()
    for path in sorted((folder / "good").glob("*")):
        path.rmdir()
    (folder / "good").rmdir()
    RawScanFolder(filepath=str(folder)).load()


def test_flats_of_another_size_in_hdf5(tmp_path):
    write_dxchange(tmp_path / "a.h5", flat_shape=(6, 9))
    with pytest.raises(DatasetError, match="data_white"):
        load(tmp_path)


def test_an_angle_too_few_in_hdf5(tmp_path):
    write_dxchange(tmp_path / "a.h5", theta=COUNT - 1)
    with pytest.raises(DatasetError, match="11 angles of 12"):
        load(tmp_path)


def test_a_gap_among_the_angles_is_told(tmp_path):
    write_dxchange(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["exchange/theta"][:] = [0, 10, 20, 30, 40, 50, 120, 130, 140, 150, 160, 170]
    (tmp_path / "a.yml").write_text("absorption: true\npixel_um: 1.5\n")
    assert "120 degrees of 180" in " ".join(load(tmp_path).warnings)


def test_a_truncated_file(tmp_path):
    write_nxtomo(tmp_path / "a.nx", entries=1)
    content = (tmp_path / "a.nx").read_bytes()
    (tmp_path / "a.nx").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match="damaged"):
        load(tmp_path)


def test_repeated_angles_and_a_wedge_are_told(tmp_path):
    write_dxchange(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["exchange/theta"][:] = [0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    (tmp_path / "a.yml").write_text("absorption: true\npixel_um: 1.5\n")
    told = " ".join(load(tmp_path).warnings)
    assert "repeated" in told
    assert "110 degrees of 180" in told


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(DatasetError, match="energy_kev"):
        RawScanFolder(filepath=str(tmp_path / "none")).load()


def test_a_phantom_scan_reads_like_a_users_and_is_reused(tmp_path):
    params = HoloPhantomParams(
        size_px=32, angles=8, detector_pixel_um=24.0, diameter_um=(5, 9), seed=1
    )
    folder = SyntheticScanFolder(filepath=str(tmp_path / "raw"), truth=str(tmp_path / "truth"))
    folder.save(params)
    scan = folder.load()["pillar"]
    assert scan.shape_ayx == (8, 32, 32)
    assert scan.geometry.pixel_um == pytest.approx(params.pixel_um)
    assert scan.geometry.fresnel == pytest.approx(params.fresnel)
    before = (tmp_path / "raw" / "pillar.nx").stat().st_mtime_ns
    folder.save(params)
    assert (tmp_path / "raw" / "pillar.nx").stat().st_mtime_ns == before
    folder.save(params.model_copy(update={"seed": 2}))
    assert (tmp_path / "raw" / "pillar.nx").stat().st_mtime_ns != before
    assert tifffile.imread(tmp_path / "truth" / "pillar_labels.tif").max() >= 1
