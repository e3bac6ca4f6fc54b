"""Raw scans as users lay them down, good and bad."""

import h5py
import numpy as np
import pytest
import tifffile
from kedro.io import DatasetError

from ncm_kedro.datasets.projections.folder import RawScanFolder
from ncm_kedro.datasets.projections.phantoms import SyntheticScanFolder
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
    "unknown_key": (ANGLES + CONE + "engery: 3\n", {}, "engery"),
    "one_angle": (CONE + "angles_deg: [10, 10]\n", {}, "12 projections at one angle"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_bad_scan_costs_itself_alone_and_says_what_to_do(tmp_path, name):
    notes, second, told = CASES[name]
    for sample in ("bad", "good"):
        write_images(tmp_path / sample / "d1")
        write_images(tmp_path / sample / "d2", seed=1, **(second if sample == "bad" else {}))
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
