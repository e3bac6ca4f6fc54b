"""Filtered back projection and projection, against discs whose line integrals are known."""

import numpy as np
import pytest
import torch

from ncm_kedro.holo.fbp import (
    mark_circle,
    project_sections,
    reconstruct_rows,
    weigh_angles,
)

SIZE = 128
DISCS = [
    (0, 0, 58, 0.3),
    (20, -15, 14, 0.7),
    (-25, 10, 9, 1.0),
    (5, 30, 11, 0.5),
    (-8, -33, 6, 0.9),
]


def integrate_discs(angles_deg, width_px, centre_px):
    u = np.arange(width_px)[None] - centre_px
    angle = np.deg2rad(angles_deg)[:, None]
    lines = np.zeros((len(angles_deg), width_px))
    for y, x, radius, value in DISCS:
        for offset in (np.arange(8) + 0.5) / 8 - 0.5:
            across = u + offset - (x * np.cos(angle) + y * np.sin(angle))
            lines += value / 4 * np.sqrt(np.maximum(radius**2 - across**2, 0))
    return lines.astype(np.float32)


def draw_discs(size_px):
    edge = np.arange(size_px) - (size_px - 1) / 2
    image = np.zeros((size_px, size_px))
    for y, x, radius, value in DISCS:
        for dy in (np.arange(6) + 0.5) / 6 - 0.5:
            for dx in (np.arange(6) + 0.5) / 6 - 0.5:
                inside = np.hypot(edge[:, None] + dy - y, edge[None] + dx - x) <= radius
                image += value * inside / 36
    return image


def find_error(section_yx, radius_px=SIZE / 2 - 2):
    inside = mark_circle(SIZE, radius_px)
    truth = draw_discs(SIZE)
    return np.sqrt(np.mean((section_yx - truth)[inside] ** 2)) / np.ptp(truth)


@pytest.mark.parametrize("turn_deg", [180, 360])
def test_discs_are_reconstructed_with_their_values(turn_deg):
    angles = np.arange(200) * turn_deg / 200
    centre = SIZE / 2 + 1.3
    lines = integrate_discs(angles, SIZE, centre)
    rows = np.stack([lines, 2 * lines, *[lines] * 16])  # more rows than are worked on at once
    sections = reconstruct_rows(rows, angles, centre)
    assert find_error(sections[0], 60) <= 0.02
    np.testing.assert_allclose(sections[1], 2 * sections[0], atol=2e-5)
    np.testing.assert_array_equal(sections[17], sections[0])
    assert sections[0][mark_circle(SIZE, 5)].mean() == pytest.approx(0.3, abs=0.01)


def test_a_wrong_centre_is_worse():
    angles = np.arange(200) * 180 / 200
    lines = integrate_discs(angles, SIZE, 63.5)[None]
    good, bad = (find_error(reconstruct_rows(lines, angles, c)[0], 58) for c in (63.5, 65.0))
    assert bad > 2 * good


def test_uneven_unsorted_and_missing_angles_keep_the_values():
    rng = np.random.default_rng(0)
    angles = np.delete(np.arange(300) * 0.6, [40, 41, 42, 200])
    rng.shuffle(angles)
    lines = integrate_discs(angles, SIZE, 63.5)[None]
    assert find_error(reconstruct_rows(lines, angles, 63.5)[0], 58) <= 0.02
    assert weigh_angles(angles).sum() == pytest.approx(np.pi)


def test_our_projection_is_the_line_integral():
    angles = np.arange(0, 180, 7.3)
    volume = np.repeat(draw_discs(SIZE)[None], 3, 0).astype(np.float32)
    lines = project_sections(volume, angles, 64.2, SIZE)
    known = integrate_discs(angles, SIZE, 64.2)
    assert np.sqrt(np.mean((lines[1] - known) ** 2)) <= 0.004 * known.max()


@pytest.mark.parametrize(
    "device", ["cpu:0", pytest.param("cuda", marks=pytest.mark.gpu)]
)  # any but the plain cpu has its rays followed by torch
def test_torch_back_projects_as_numba_does(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    angles = np.arange(90) * 2.0
    rows = np.stack([integrate_discs(angles, SIZE, 62.3)] * 18).astype(np.float32)
    rows *= np.linspace(0.5, 1.5, 18, dtype=np.float32)[:, None, None]
    ours, theirs = (reconstruct_rows(rows, angles, 62.3, device=d) for d in ("cpu", device))
    np.testing.assert_allclose(theirs, ours, atol=2e-5 * np.ptp(ours))


def test_error_is_no_larger_than_that_of_astra():
    astra = pytest.importorskip("astra")
    angles = np.arange(160) * 180 / 160
    lines = integrate_discs(angles, SIZE, (SIZE - 1) / 2)
    beam = astra.create_proj_geom("parallel", 1.0, SIZE, np.deg2rad(angles))
    grid = astra.create_vol_geom(SIZE, SIZE)
    settings = astra.astra_dict("FBP")
    settings["ProjectorId"] = astra.create_projector("linear", beam, grid)
    settings["ProjectionDataId"] = astra.data2d.create("-sino", beam, lines)
    settings["ReconstructionDataId"] = astra.data2d.create("-vol", grid)
    settings["option"] = {"FilterType": "Ram-Lak"}
    astra.algorithm.run(astra.algorithm.create(settings))
    theirs = astra.data2d.get(settings["ReconstructionDataId"])[::-1]  # its rows run upwards
    ours = reconstruct_rows(lines[None], angles, (SIZE - 1) / 2)[0]
    assert find_error(ours) <= 1.05 * find_error(theirs) <= 0.02
