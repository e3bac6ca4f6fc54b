"""Layouts of the field: what is read right, what is warned of, what is refused and why."""

import importlib.util
import os
import shutil

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from kedro.io import DatasetError

from ncm_kedro.datasets.tomograms import raw as raw_module
from ncm_kedro.datasets.tomograms.raw import RawTomogramFolder
from ncm_kedro.errors import TomogramError
from ncm_kedro.tomo.volumes import identity

SHAPE = (6, 7, 8)


def draw_values(kind="<u2", shape=SHAPE):
    return (1 + np.arange(np.prod(shape)) % 120).reshape(shape).astype(kind)


def load(folder, **options):
    return RawTomogramFolder(filepath=str(folder), **options).load()


def say(folder, text="voxel_size_um: 0.1", name="s.yml"):
    (folder / name).write_text(text)


def refusal(folder):
    with pytest.raises(DatasetError) as caught:
        load(folder)
    assert isinstance(caught.value.__cause__, TomogramError)
    return str(caught.value.__cause__)


def read_all(tomogram):
    return tomogram.read(tuple(slice(0, n) for n in tomogram.shape_zyx))


def check(folder, values=None, size=None):
    (tomogram,) = load(folder).values()
    np.testing.assert_array_equal(read_all(tomogram), draw_values() if values is None else values)
    if size is not None:
        assert tomogram.voxel_size_um == pytest.approx(size, rel=1e-4)
    return tomogram


def warned(tomogram):
    return " ".join(tomogram.warnings)


# voxel sizes


def write_imagej(folder, pixel, **notes):
    tifffile.imwrite(
        folder / "s.tif", draw_values(), imagej=True, resolution=(1 / pixel, 1 / pixel),
        metadata={"axes": "ZYX", **notes},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pixel", "notes", "size"),
    [
        (1.0, {"unit": "micron"}, (1, 1, 1)),
        (0.07, {"unit": "um"}, (1, 0.07, 0.07)),
        (0.07, {"unit": "um", "spacing": -0.14}, (0.14, 0.07, 0.07)),
        (2.7559e-6, {"unit": "inch", "spacing": 5.5118e-6}, (0.14, 0.07, 0.07)),
        (7e-6, {"unit": "cm", "spacing": 14e-6}, (0.14, 0.07, 0.07)),
        (70_000, {"unit": "pm", "spacing": 140_000}, (0.14, 0.07, 0.07)),
        (0.07, {"unit": "um", "zunit": "nm", "spacing": 140.0}, (0.14, 0.07, 0.07)),
        (0.07, {"unit": "um", "spacing": 0.0}, (1, 0.07, 0.07)),
    ],
)
def test_imagej_is_read_as_imagej_reads_it(tmp_path, pixel, notes, size):
    write_imagej(tmp_path, pixel, **notes)
    check(tmp_path, size=size)


def test_the_spacing_that_tifffile_writes_is_read(tmp_path):
    tifffile.imwrite(
        tmp_path / "s.tif", draw_values(), resolution=(1e4 / 0.07, 1e4 / 0.07),
        resolutionunit="CENTIMETER", metadata={"axes": "ZYX", "spacing": 0.14, "unit": "um"},
    )  # fmt: skip
    check(tmp_path, size=(0.14, 0.07, 0.07))


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ("voxel_size_um: 0.07\nvoxel_size_um: 0.7", "voxel_size_um more than once"),
        ("voxel_size_um: [true, true, true]", "no lengths"),
        ("voxel_size_um: [7.0e-8, 0.07, 0.07]", "1e+06 times another"),
        ("voxel_size_um: [14, 0.07, 0.07]", "200 times another"),
    ],
)
def test_notes_that_cannot_be_meant_are_refused(tmp_path, notes, said):
    tifffile.imwrite(tmp_path / "s.tif", draw_values())
    say(tmp_path, notes)
    assert said in refusal(tmp_path)


def test_voxels_that_are_rods_are_warned_of(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", draw_values())
    say(tmp_path, "voxel_size_um: [1, 0.07, 0.07]")
    assert "14.3 times another" in warned(check(tmp_path))
    say(tmp_path, "voxel_size_um: [0.35, 0.07, 0.07]")
    assert not warned(check(tmp_path))


def test_sections_of_imagej_have_no_depth_and_become_cubes(tmp_path):
    (tmp_path / "s").mkdir()
    for z, section in enumerate(draw_values()):
        tifffile.imwrite(tmp_path / "s" / f"{z}.tif", section, imagej=True,
                         resolution=(1 / 0.07, 1 / 0.07), metadata={"unit": "um"})  # fmt: skip
    assert "voxels taken as cubes" in check(tmp_path, size=(0.07,) * 3).voxel_size_source


def test_an_imagej_unit_that_is_no_length_is_no_voxel_size(tmp_path):
    write_imagej(tmp_path, 0.07, unit="furlong", spacing=0.14)
    assert "'furlong' is no length" in refusal(tmp_path)


def test_cubes_are_said_to_be_assumed(tmp_path):
    tifffile.imwrite(
        tmp_path / "s.ome.tif", draw_values(),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1},
    )  # fmt: skip
    assert "voxels taken as cubes" in check(tmp_path, size=(0.1, 0.1, 0.1)).voxel_size_source
    tifffile.imwrite(
        tmp_path / "s.ome.tif", draw_values(),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2},
    )  # fmt: skip
    assert "no size along z" in refusal(tmp_path)


def test_a_size_along_z_that_is_no_length_is_not_taken_as_not_given(tmp_path):
    tifffile.imwrite(
        tmp_path / "s.ome.tif", draw_values(),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 2,
                  "PhysicalSizeZUnit": "pixel"},
    )  # fmt: skip
    assert "PhysicalSizeZ 2" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["s.YML", "s.yaml", "s.Yml"])
def test_notes_are_found_whatever_their_case(tmp_path, name):
    tifffile.imwrite(tmp_path / "s.tif", draw_values())
    say(tmp_path, "voxel_size_um: 7e-2", name)
    raw = load(tmp_path)
    assert raw["s"].voxel_size_um == (0.07, 0.07, 0.07)
    assert raw["s"].voxel_size_source == name
    assert raw.rejected.empty
    say(tmp_path, "voxel_size_um: 7e-2", "s.yml")
    assert "2 files of notes" in refusal(tmp_path)


def test_metres_are_refused_and_nanometres_warned_of(tmp_path):
    for name, size in (("good", "0.4"), ("metres", "4.0e-7"), ("nanometres", "400")):
        tifffile.imwrite(tmp_path / f"{name}.tif", draw_values() + np.uint16(len(name)))
        say(tmp_path, f"voxel_size_um: {size}", f"{name}.yml")
    raw = load(tmp_path)
    assert list(raw) == ["good", "nanometres"]
    assert "implausible voxel size of 4e-07" in dict(raw.rejected.to_numpy())["metres.tif"]
    assert not warned(raw["good"])
    assert "is implausible" in warned(raw["nanometres"])


# one bad input


def test_a_link_to_nowhere_costs_its_own_sample_alone(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", draw_values())
    say(tmp_path, name="a.yml")
    for name in ("b.tif", "c.h5", "d.zarr", "e"):
        (tmp_path / name).symlink_to("/nowhere/at_all")
    raw = load(tmp_path)
    assert list(raw) == ["a"]
    reasons = dict(raw.rejected.to_numpy())
    assert "a link to /nowhere/at_all" in reasons["b.tif"]
    assert {"b.tif", "c.h5", "d.zarr"} <= set(reasons)


def test_whatever_opening_raises_the_others_are_read(tmp_path, monkeypatch):
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", draw_values())
        say(tmp_path, name=f"{name}.yml")
    original = raw_module._open_volume

    def fail(path, notes):
        if path.stem == "a":
            raise ZeroDivisionError("no one thought of this")
        return original(path, notes)

    monkeypatch.setattr(raw_module, "_open_volume", fail)
    raw = load(tmp_path)
    assert list(raw) == ["b"]
    reason = dict(raw.rejected.to_numpy())["a.tif"]
    assert "ZeroDivisionError: no one thought of this" in reason
    assert str(tmp_path / "a.tif") in reason


def describe_ome(names):
    """OME-XML of a stack whose planes lie in these files, one each."""
    files = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID>'
        "</TiffData>"
        for z, name in enumerate(names)
    )
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="7" SizeZ="6" '
        f'SizeC="1" SizeT="1"><Channel ID="Channel:0"/>{files}</Pixels></Image></OME>'
    ).encode()


def test_missing_planes_of_an_ome_tiff_are_counted(tmp_path):
    names = [f"s{z}.ome.tif" for z in range(6)]
    for name in ("s0.ome.tif", "good.tif"):
        tifffile.imwrite(tmp_path / name, draw_values()[0] if name != "good.tif" else draw_values())
    say(tmp_path, name="s0.yml")
    say(tmp_path, name="good.yml")
    tifffile.tiffcomment(tmp_path / "s0.ome.tif", describe_ome(names))
    raw = load(tmp_path)
    assert list(raw) == ["good"]
    assert "5 of 6 planes missing" in dict(raw.rejected.to_numpy())["s0.ome.tif"]


# folders


def write_sections(folder, names, values=None, **options):
    values = draw_values() if values is None else values
    (folder / "s").mkdir()
    say(folder)
    for name, section in zip(names, values, strict=True):
        tifffile.imwrite(folder / "s" / name, section, **options)


def test_sections_of_three_axes_are_read(tmp_path):
    write_sections(tmp_path, [f"{z}.tif" for z in range(6)], draw_values()[:, None],
                   metadata={"axes": "ZYX"})  # fmt: skip
    check(tmp_path)


def test_ome_sections_that_name_each_other_are_read_by_themselves(tmp_path):
    names = [f"s{z}.ome.tif" for z in range(6)]
    write_sections(tmp_path, names, metadata={"axes": "YX"})
    for name in names:
        tifffile.tiffcomment(tmp_path / "s" / name, describe_ome(names))
    check(tmp_path)


def test_gaps_are_warned_of_with_their_numbers(tmp_path):
    write_sections(tmp_path, [f"a_{z:04d}.tif" for z in (0, 1, 2, 5, 6, 7)])
    assert "0003, 0004" in warned(check(tmp_path))


def test_even_steps_are_no_gaps(tmp_path):
    write_sections(tmp_path, [f"a2024_{z}.tif" for z in (0, 2, 4, 8, 10, 12)])
    assert warned(check(tmp_path)).startswith("sections 6 are missing")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("a_3.png", "a_3"),
        ("a_3 (1).tif", "a_3 (1).tif"),
        ("a_3 - Copy.tif", "a_3 - Copy.tif"),
        ("a_3 - Copy (2).tif", "a_3 - Copy (2).tif"),
        ("Copy of a_3.tif", "Copy of a_3.tif"),
        ("a_3_copy.tif", "a_3_copy.tif"),
        ("a_03.tif", "a_03.tif"),
        ("A_3.TIFF", "A_3.TIFF"),
        ("average.tif", "average.tif"),
        ("a_3_preview.tif", "a_3_preview.tif"),
    ],
)
def test_what_is_there_twice_or_is_no_section_is_refused_by_name(tmp_path, extra, said):
    write_sections(tmp_path, [f"a_{z}.tif" for z in range(6)])
    if extra.endswith(".png"):
        cv2 = pytest.importorskip("cv2")
        cv2.imwrite(str(tmp_path / "s" / extra), draw_values()[3])
    else:
        shutil.copy(tmp_path / "s" / "a_3.tif", tmp_path / "s" / extra)
    assert said in refusal(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        [f"c{c}_z{z}" for c in range(2) for z in range(3)],
        [f"{t}_z{z}" for t, z in zip((1, 2, 3, 4, 5, 6), (0, 3, 1, 4, 2, 5), strict=True)],
        list("abcdef"),
        [f"z{z}" for z in ("0.125", "0.25", "0.5", "0.75", "1.0", "1.5")],
    ],
)
def test_names_that_leave_the_order_open_are_refused(tmp_path, names):
    write_sections(tmp_path, [f"{name}.tif" for name in names])
    assert "no number alone counts the sections" in refusal(tmp_path)


def test_gaps_are_found_beside_times(tmp_path):
    write_sections(tmp_path, [f"s_{z:03}_10{7 * z:02}.tif" for z in (0, 1, 2, 4, 5, 6)])
    assert "sections 0003 are missing" in warned(check(tmp_path))


def test_sections_of_either_byte_order_are_one_volume(tmp_path):
    (tmp_path / "s").mkdir()
    for z, section in enumerate(draw_values()):
        tifffile.imwrite(tmp_path / "s" / f"{z}.tif", section, byteorder="<>"[z % 2])
    say(tmp_path)
    check(tmp_path)


def test_notes_within_a_folder_of_sections_are_said_not_to_be_read(tmp_path):
    write_sections(tmp_path, [f"{z}.tif" for z in range(6)])
    say(tmp_path / "s", "voxel_size_um: 3")
    assert "s.yml in s/ is not read" in warned(check(tmp_path, size=(0.1,) * 3))


def test_a_section_that_is_a_link_to_nowhere_is_no_gap(tmp_path):
    write_sections(tmp_path, [f"a_{z}.tif" for z in range(6)])
    (tmp_path / "s" / "a_6.tif").symlink_to("/nowhere/a_6.tif")
    assert "a_6.tif" in refusal(tmp_path)


TILES = {"tile": (16, 16, 16)}


@pytest.mark.parametrize("options", [{}, TILES, {**TILES, "compression": "zlib"}])
def test_volumetric_tiff(tmp_path, options):
    values = draw_values(shape=(20, 24, 40))
    tifffile.imwrite(tmp_path / "s.tif", values, volumetric=True, photometric="minisblack",
                     **options)  # fmt: skip
    say(tmp_path)
    tomogram = check(tmp_path, values)
    part = (slice(3, 18), slice(1, 20), slice(5, 6))
    np.testing.assert_array_equal(tomogram.read(part), values[part])


# identity


def test_content_is_what_identifies_a_tomogram(tmp_path):
    values = draw_values()
    tifffile.imwrite(tmp_path / "s.tif", values)
    say(tmp_path)
    first, state = load(tmp_path)["s"].fingerprint, os.stat(tmp_path / "s.tif")
    values[3, 3, 3] += 1
    tifffile.imwrite(tmp_path / "s.tif", values)
    os.utime(tmp_path / "s.tif", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert os.stat(tmp_path / "s.tif").st_size == state.st_size
    assert load(tmp_path)["s"].fingerprint != first


def test_sections_that_change_places_are_another_tomogram(tmp_path):
    write_sections(tmp_path, [f"a_{z}.tif" for z in range(6)])
    for path in (tmp_path / "s").iterdir():
        os.utime(path, ns=(5, 5))
    first = load(tmp_path)["s"].fingerprint
    folder = tmp_path / "s"
    (folder / "a_1.tif").rename(folder / "x")
    (folder / "a_2.tif").rename(folder / "a_1.tif")
    (folder / "x").rename(folder / "a_2.tif")
    assert load(tmp_path)["s"].fingerprint != first


def test_large_files_are_sampled_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "_FULL_BELOW", 1000)
    monkeypatch.setattr(identity, "_SAMPLED", 4000)
    monkeypatch.setattr(identity, "_SAMPLE_BLOCK", 1000)
    values = np.random.default_rng(0).integers(1, 250, (40, 40, 40)).astype(np.uint8)
    path = tmp_path / "s.tif"

    def identify(changed, how, *, time=7):
        tifffile.imwrite(path, changed)
        os.utime(path, ns=(time, time))
        return load(tmp_path, identity=how)["s"].fingerprint

    say(tmp_path)
    other = np.flip(values)
    hidden = values.copy()
    hidden[7, 20, 20] += 1
    assert identify(values, "sampled") != identify(other, "sampled")
    assert identify(values, "sampled") != identify(hidden, "sampled", time=8)
    assert identify(values, "full") != identify(hidden, "full")
    assert identify(values, "full") == identify(values, "full", time=8)


def test_one_tomogram_under_two_names_is_no_replicate(tmp_path):
    for name in ("a", "a (1)", "b"):
        values = draw_values() + (name == "b")
        tifffile.imwrite(tmp_path / f"{name}.tif", values)
        say(tmp_path, name=f"{name}.yml")
    raw = load(tmp_path)
    assert "the same voxels as a (1)" in warned(raw["a"])
    assert "the same voxels as a:" in warned(raw["a (1)"])
    assert not warned(raw["b"])


def test_other_formats_are_named_with_what_to_do(tmp_path):
    (tmp_path / "s.mrc").write_bytes(b"MAP")
    message = refusal(tmp_path)
    assert "s.mrc" in message
    assert "as TIFF" in message
    tifffile.imwrite(tmp_path / "t.tif", draw_values())
    say(tmp_path, name="t.yml")
    (row,) = load(tmp_path).rejected.to_dict("records")
    assert row["file"] == "s.mrc"
    assert "as TIFF" in row["reason"]


def test_a_link_to_itself_costs_its_own_sample_alone(tmp_path):
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    tifffile.imwrite(tmp_path / "s.tif", draw_values())
    say(tmp_path)
    raw = load(tmp_path)
    assert list(raw) == ["s"]
    assert "a link to" in raw.rejected["reason"][0]


# HDF5


CAMERA = "measurement/instrument/detector/pixel_size"
NXTOMO = "entry/instrument/detector"


def write_h5(path, datasets):
    """Write data sets; a pair is a value and its unit."""
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            value, unit = values if isinstance(values, tuple) else (values, None)
            file[name] = value
            if unit is not None:
                file[name].attrs["units"] = unit


def count_along(place, steps, unit):
    """Coordinates of the voxels along each axis."""
    rows = zip("zyx", SHAPE, steps, strict=True)
    return {f"{place}/{axis}": (np.arange(n) * step, unit) for axis, n, step in rows}


READ_H5 = {
    "beside the camera's": ({CAMERA: (6.5, "um"), "entry/sample/pixel_size": (0.65, "um")}, 0.65),
    "effective": ({CAMERA: (6.5, "um"), "process/effective_pixel_size": (0.65, "um")}, 0.65),
    "resolution": (
        {
            CAMERA: (6.5, "um"),
            "measurement/instrument/detection_system/objective/resolution": (0.65, "um"),
        },
        0.65,
    ),
    "coordinates": (count_along("entry/data", (300, 200, 100), "nm"), (0.3, 0.2, 0.1)),
    "unit in the name": ({"process/voxel_size_um": 0.07}, 0.07),
    "unit in camel case": ({"process/pixelSize_nm": 70.0}, 0.07),
    "unit in the value": ({"process/voxel_size": "70 nm"}, 0.07),
    "three values": ({"process/voxel_size": ([7e-8] * 3, "m")}, 0.07),
    "spaces": ({"process/Voxel Size": (70_000, "pm")}, 0.07),
}


@pytest.mark.parametrize("case", READ_H5)
def test_sizes_in_hdf5_are_read_wherever_and_however_they_are_written(tmp_path, case):
    items, size = READ_H5[case]
    write_h5(tmp_path / "s.h5", {"entry/data/data": draw_values(), **items})
    size = size if isinstance(size, tuple) else (size,) * 3
    source = check(tmp_path, size=size).voxel_size_source
    assert "voxels taken as cubes" in source or CAMERA not in items


UNEVEN = {axis: np.cumsum(np.where(np.arange(n) % 2, 5e-8, 6.5e-8))
          for axis, n in zip("zyx", SHAPE, strict=True)}  # fmt: skip
REFUSED_H5 = {
    "the camera's": ({CAMERA: (6.5, "um")}, "pixel of the camera"),
    "two that differ": (
        {"a/pixel_size": (0.65, "um"), "b/pixel_size": (1.3, "um")},
        "0.65 um at /a/pixel_size; 1.3 um at /b/pixel_size",
    ),
    "no unit along z": (
        {"sample/z_pixel_size": 0.1, "sample/y_pixel_size": (0.1, "um"),
         "sample/x_pixel_size": (0.1, "um")},
        "/sample/z_pixel_size has no unit of length",
    ),
    "uneven coordinates": ({f"v/{axis}": (row, "m") for axis, row in UNEVEN.items()},
                           "no voxel size"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_H5)
def test_sizes_in_hdf5_that_cannot_be_meant_are_refused_until_notes_give_one(tmp_path, case):
    items, said = REFUSED_H5[case]
    write_h5(tmp_path / "s.h5", {"v/data": draw_values(), **items})
    assert said in refusal(tmp_path)
    say(tmp_path)
    check(tmp_path, size=(0.1, 0.1, 0.1))


@pytest.mark.parametrize(
    "items",
    [
        {f"{NXTOMO}/data": draw_values(), f"{NXTOMO}/image_key": [0] * 6,
         "entry/sample/rotation_angle": np.arange(6)},
        {"entry/data/data": draw_values(), f"{NXTOMO}/image_key": [0] * 6},
        {"exchange/data": draw_values(), "exchange/data_white": draw_values(shape=(2, 7, 8))},
        {"1.1/measurement/camera": draw_values(), "1.1/measurement/hrsrot": np.arange(6.0)},
        {"entry/definition": "NXtomo", f"{NXTOMO}/data": draw_values()},
    ],
)  # fmt: skip
def test_projections_are_recognised_and_sent_to_their_pipeline(tmp_path, items):
    write_h5(tmp_path / "s.h5", items)
    say(tmp_path)
    message = refusal(tmp_path)
    assert "projections with their angles" in message
    assert "kedro run --pipelines holo_tomography,tomo_segment" in message


def link_external(folder):
    write_h5(folder / "data.hdf", {"v": draw_values()})
    with h5py.File(folder / "s.nxs", "w") as file:
        file["entry/data/data"] = h5py.ExternalLink("data.hdf", "/v")
    return folder / "data.hdf"


def link_virtual(folder):
    write_h5(folder / "data.hdf", {"v": draw_values()})
    layout = h5py.VirtualLayout(SHAPE, "<u2")
    layout[:] = h5py.VirtualSource(str(folder / "data.hdf"), "v", SHAPE)
    with h5py.File(folder / "s.nxs", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    return folder / "data.hdf"


def link_storage(folder):
    with h5py.File(folder / "s.nxs", "w") as file:
        file.create_dataset("v", data=draw_values(), external=[(str(folder / "v.raw"), 0, 10_000)])
    return folder / "v.raw"


@pytest.mark.parametrize("link", [link_external, link_virtual, link_storage])
def test_what_lies_in_another_file_is_read_identified_and_missed(tmp_path, link):
    (tmp_path / "raw").mkdir()
    source = link(tmp_path / "raw")
    source.with_name("s.nxs").rename(tmp_path / "raw" / "s.h5")
    say(tmp_path / "raw", "voxel_size_um: 0.1")
    if source.suffix == ".hdf":
        (tmp_path / "raw" / "parts").mkdir()
    raw = load(tmp_path / "raw", samples=["s"])
    np.testing.assert_array_equal(read_all(raw["s"]), draw_values())
    content = bytearray(source.read_bytes())
    content[-1] ^= 1
    source.write_bytes(bytes(content))
    assert load(tmp_path / "raw", samples=["s"])["s"].fingerprint != raw["s"].fingerprint
    source.unlink()
    with pytest.raises(DatasetError, match=r"(data\.hdf|v\.raw)"):
        load(tmp_path / "raw", samples=["s"])


def test_a_virtual_data_set_with_holes_is_refused(tmp_path):
    write_h5(tmp_path / "part.bin", {"v": draw_values()[:3]})
    layout = h5py.VirtualLayout(SHAPE, "<u2")
    layout[:3] = h5py.VirtualSource("part.bin", "v", (3, 7, 8))
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_virtual_dataset("v", layout)
    say(tmp_path)
    assert "fill 50.0% of it" in refusal(tmp_path)


def write_parts(folder, sources, rows=((0, 3), (3, 6))):
    """Write a virtual data set whose parts, named as given, lie hidden in the folder."""
    layout = h5py.VirtualLayout(SHAPE, "<u2")
    for number, (source, (start, stop)) in enumerate(zip(sources, rows, strict=True)):
        write_h5(folder / f".{number}.part", {"v": draw_values()[3 * number : 3 * number + 3]})
        layout[start:stop] = h5py.VirtualSource(source, "v", (3, 7, 8))
    with h5py.File(folder / "s.h5", "w") as file:
        file.create_virtual_dataset("exchange/data", layout)
    say(folder)


def test_parts_are_looked_for_where_hdf5_does(tmp_path):
    write_parts(tmp_path, ["/elsewhere/.0.part", "/elsewhere/.1.part"])
    check(tmp_path)
    write_parts(tmp_path, ["elsewhere/.0.part", "elsewhere/.1.part"])  # HDF5 reads zeros
    assert "is not there" in refusal(tmp_path)


def test_parts_of_a_linked_file_lie_where_it_really_is(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "raw").mkdir()
    write_parts(tmp_path / "disk", [".0.part", ".1.part"])
    (tmp_path / "raw" / "s.h5").symlink_to(tmp_path / "disk" / "s.h5")
    say(tmp_path / "raw")
    check(tmp_path / "raw")


def test_parts_that_overlap_do_not_make_up_for_a_hole(tmp_path):
    write_parts(tmp_path, [".0.part", ".1.part"], rows=((0, 3), (0, 3)))
    assert "fill 50.0% of it" in refusal(tmp_path)


def test_a_part_that_is_too_short_is_refused(tmp_path):
    write_parts(tmp_path, [".0.part", ".1.part"])
    write_h5(tmp_path / ".1.part", {"v": draw_values()[3:5]})
    assert "smaller than" in refusal(tmp_path)


def test_storage_beside_a_file_is_read_from_anywhere_and_must_be_long_enough(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("v", SHAPE, "<u2", external=[(".raw", 0, draw_values().nbytes)])
    say(tmp_path)
    draw_values().tofile(tmp_path / ".raw")
    check(tmp_path)
    os.truncate(tmp_path / ".raw", 500)
    assert "500 of 672 bytes" in refusal(tmp_path)


def test_angles_kept_with_a_reconstruction_do_not_make_it_projections(tmp_path):
    write_h5(tmp_path / "s.nxs", {"entry/definition": "NXtomoproc", "entry/angles": np.arange(6.0),
                                  "entry/reconstruction/results/data": draw_values()})  # fmt: skip
    say(tmp_path)
    check(tmp_path)


def test_chunks_that_were_never_written_are_refused_unless_known_to_be_empty(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        item = file.create_dataset("v", SHAPE, "<u2", chunks=(1, 7, 8))
        item[:4] = draw_values()[:4]
    say(tmp_path)
    assert "2 of 6 chunks of /v were never written" in refusal(tmp_path)
    say(tmp_path, "voxel_size_um: 0.1\nmissing_chunks_are_empty: true")
    (tomogram,) = load(tmp_path).values()
    assert "2 of 6 chunks (33.3%)" in warned(tomogram)


@pytest.mark.skipif(importlib.util.find_spec("hdf5plugin") is not None, reason="is installed")
def test_a_compression_that_is_not_installed_is_named_with_its_remedy(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 7, 8))
        plist.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 2))
        space = h5py.h5s.create_simple(SHAPE)
        made = h5py.h5d.create(file.id, b"v", h5py.h5t.STD_U16LE, space, plist)
        for z in range(SHAPE[0]):
            made.write_direct_chunk((z, 0, 0), b"x" * 20)
    say(tmp_path)
    message = refusal(tmp_path)
    assert "bitshuffle (filter 32008)" in message
    assert "pip install hdf5plugin" in message


def test_bitshuffle_is_read_where_the_plugin_is(tmp_path):
    plugin = pytest.importorskip("hdf5plugin")
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("v", data=draw_values(), chunks=(1, 7, 8), **plugin.Bitshuffle())
    say(tmp_path)
    check(tmp_path)


# Zarr


def describe_image(levels=((1, 0.14), (2, 0.28))):
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    datasets = [
        {"path": str(number), "coordinateTransformations": [
            {"type": "scale", "scale": [depth, 0.07 * factor, 0.07 * factor]}]}
        for number, (factor, depth) in enumerate(levels)
    ]  # fmt: skip
    return {"version": "0.4", "axes": axes, "datasets": datasets}


def write_bioformats2raw(path, images=1):
    group = zarr.create_group(path, zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    group.create_group("OME")
    for number in range(images):
        image = group.create_group(str(number))
        image.attrs["multiscales"] = [describe_image()]
        image.create_array("0", data=draw_values())
        image.create_array("1", data=draw_values()[::2, ::2, ::2])


def test_bioformats2raw_stores_know_their_scale(tmp_path):
    write_bioformats2raw(tmp_path / "s.zarr")
    check(tmp_path, size=(0.14, 0.07, 0.07))
    say(tmp_path, "dataset: 0/1")
    check(tmp_path, draw_values()[::2, ::2, ::2], size=(0.28, 0.14, 0.14))
    say(tmp_path, "dataset: '0'")
    check(tmp_path, size=(0.14, 0.07, 0.07))


def test_the_finest_level_is_read_wherever_it_is_listed(tmp_path):
    group = zarr.open_group(tmp_path / "s.zarr", mode="w")
    group["1"], group["0"] = draw_values()[:, ::2, ::2], draw_values()
    axes = [{"name": axis, "type": "space", "unit": "picometer"} for axis in "zyx"]
    listed = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for name, scale in (("1", [140e3, 140e3, 140e3]), ("0", [140e3, 70e3, 70e3]))
    ]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": listed}]}
    check(tmp_path, size=(0.14, 0.07, 0.07))


def test_several_images_in_a_store_are_named(tmp_path):
    write_bioformats2raw(tmp_path / "s.zarr", images=2)
    assert "2 images (0 (6, 7, 8), 1 (6, 7, 8))" in refusal(tmp_path)
    say(tmp_path, "dataset: 1/0")
    check(tmp_path, size=(0.14, 0.07, 0.07))


CHUNKS = (16, 16, 16)


def write_chunks(path, values, version=3, **options):
    zarr.create_array(path, data=values, chunks=CHUNKS, zarr_format=version, **options)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("damage", ["lost", "emptied"])
def test_lost_chunks_are_refused(tmp_path, version, damage):
    values = draw_values(shape=(40, 48, 56))
    write_chunks(tmp_path / "s.zarr", values, version)
    say(tmp_path)
    assert not warned(check(tmp_path, values))
    lost = tmp_path / "s.zarr" / ("c/1/1/2" if version == 3 else "1.1.2")
    if damage == "lost":
        lost.unlink()
    else:
        lost.write_bytes(b"")
    message = refusal(tmp_path)
    assert "1 of 36 chunks" in message
    assert lost.relative_to(tmp_path / "s.zarr").as_posix() in message
    if damage == "lost":
        say(tmp_path, "voxel_size_um: 0.1\nmissing_chunks_are_empty: true")
        assert "1 of 36 chunks (2.8%)" in warned(load(tmp_path)["s"])


def test_a_lost_shard_is_refused(tmp_path):
    values = draw_values(shape=(40, 48, 56))
    write_chunks(tmp_path / "s.zarr", values, shards=(32, 32, 32))
    (tmp_path / "s.zarr" / "c/0/1/1").unlink()
    say(tmp_path)
    assert "1 of 8 chunks" in refusal(tmp_path)


def test_chunks_left_out_outside_a_mask_count_as_empty_with_a_word(tmp_path):
    y, x = np.mgrid[:96, :96]
    values = draw_values(shape=(16, 96, 96))
    values[:, np.hypot(y - 47.5, x - 47.5) > 44] = 0
    write_chunks(tmp_path / "s.zarr", values)
    assert not (tmp_path / "s.zarr" / "c/0/0/0").exists(), "the writer keeps empty chunks"
    say(tmp_path)
    assert "4 of 36 chunks (11.1%)" in warned(check(tmp_path, values))
    (tmp_path / "s.zarr" / "c/0/2/3").unlink()
    assert "c/0/2/3" in refusal(tmp_path)


def test_a_store_without_one_chunk_is_refused(tmp_path):
    zarr.create_array(tmp_path / "s.zarr", shape=(40, 40, 40), dtype="u1", chunks=CHUNKS)
    say(tmp_path)
    assert "none of 27 chunks" in refusal(tmp_path)
