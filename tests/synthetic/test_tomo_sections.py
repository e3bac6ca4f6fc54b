"""Training sections: what a label is, and what it is not disturbed by."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import binary_fill_holes, label

from ncm_kedro.params.tomo_phantoms import TomoSectionParams
from ncm_kedro.synthetic.tomo.outlines import ANGLES, draw_waves
from ncm_kedro.synthetic.tomo.section_imaging import draw_cells, draw_smooth, draw_streaks
from ncm_kedro.synthetic.tomo.sections import TrainingSection, number_labels, training_section

SEEDS = range(12)
NONE = (0.0, 0.0)

PLAIN_SHAPE = {
    "mean_diameter_px": (60.0, 60.0), "diameter_spread": NONE, "area_fraction": (0.03, 0.03),
    "touching": NONE, "elongation": (1.0, 1.0), "irregularity": NONE, "roughness": NONE,
    "jaggedness": NONE, "facets": 0.0,
}  # fmt: skip
SOUND = dict.fromkeys(
    ("void", "radial_cracks", "concentric_cracks", "through_crack", "pulverised_rim",
     "fragmented", "faint", "debris"), NONE,
)  # fmt: skip
CLEAN = dict.fromkeys(
    ("white_noise", "correlated_noise", "streaks", "rings", "fringe", "shading", "texture",
     "matrix_texture"), NONE,
) | {"contrast": (0.6, 0.6), "band": 0.0, "field_of_view": 0.0}  # fmt: skip


def draw_section(seed: int, **groups: dict[str, object]) -> TrainingSection:
    params = TomoSectionParams.model_validate(groups)
    return training_section(np.random.default_rng(seed), 160, params)


@pytest.fixture(scope="module")
def sections() -> list[TrainingSection]:
    return [draw_section(seed) for seed in SEEDS]


def test_section_has_grey_values_and_consecutive_labels(sections: list[TrainingSection]) -> None:
    for section in sections:
        assert section.image_yx.shape == section.labels_yx.shape == (160, 160)
        assert section.image_yx.dtype == np.float32
        assert section.labels_yx.dtype == np.int32
        assert 0 <= section.image_yx.min() < section.image_yx.max() <= 255
        found = np.unique(section.labels_yx)
        np.testing.assert_array_equal(found, np.arange(found.size))
    assert sum(section.labels_yx.max() > 0 for section in sections) >= len(sections) - 1


def test_every_label_is_in_one_piece(sections: list[TrainingSection]) -> None:
    for section in sections:
        for number in range(1, section.labels_yx.max() + 1):
            assert label(section.labels_yx == number)[1] == 1


def test_same_generator_state_gives_same_section() -> None:
    first, again, other = (draw_section(seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.image_yx, again.image_yx)
    np.testing.assert_array_equal(first.labels_yx, again.labels_yx)
    assert not np.array_equal(first.image_yx, other.image_yx)


@pytest.mark.parametrize("blur_px", [0.5, 2.2])
def test_label_ends_at_half_the_contrast(blur_px: float) -> None:
    imaging = CLEAN | {"blur_px": (blur_px, blur_px)}
    compared = 0
    for seed in range(8):
        section = draw_section(seed, shape=PLAIN_SHAPE, damage=SOUND, imaging=imaging)
        if section.labels_yx.max() != 1:
            continue
        mask = section.labels_yx == 1
        if mask[[0, -1]].any() or mask[:, [0, -1]].any():
            continue
        half = (np.median(section.image_yx[mask]) + np.median(section.image_yx[~mask])) / 2
        assert mask.sum() == pytest.approx((section.image_yx > half).sum(), rel=0.01)
        assert mask.sum() == pytest.approx(np.pi * 30**2, rel=0.01)
        compared += 1
    assert compared >= 2


def test_labels_keep_cracks_and_voids() -> None:
    damage = SOUND | {"through_crack": (1.0, 1.0), "void": (1.0, 1.0)}
    dark = 0
    for seed in range(6):
        section = draw_section(seed, shape=PLAIN_SHAPE, damage=damage, imaging=CLEAN)
        mask = section.labels_yx > 0
        if not mask.any():  # the one particle lies across the edge, outside
            continue
        background = np.median(section.image_yx[~mask])
        bright = np.percentile(section.image_yx[mask], 90)
        dark += int((section.image_yx[mask] < (background + bright) / 2).sum())
        for number in range(1, section.labels_yx.max() + 1):
            one = section.labels_yx == number
            np.testing.assert_array_equal(one, binary_fill_holes(one))
    assert dark > 200


def test_touching_particles_share_a_border_without_a_gap() -> None:
    shape = PLAIN_SHAPE | {"area_fraction": (0.6, 0.6), "touching": (1.0, 1.0),
                           "overlap": (0.06, 0.06), "mean_diameter_px": (30.0, 30.0)}  # fmt: skip
    section = draw_section(3, shape=shape, damage=SOUND, imaging=CLEAN)
    left, right = section.labels_yx[:, :-1], section.labels_yx[:, 1:]
    shared = (left != right) & (left > 0) & (right > 0)
    assert len({tuple(pair) for pair in zip(left[shared], right[shared], strict=True)}) >= 4


def test_nothing_is_labelled_outside_the_field_of_view() -> None:
    cut = 0
    for seed in SEEDS:
        section = draw_section(seed, imaging={"field_of_view": 1.0, "white_noise": (0.1, 0.2)})
        values, counts = np.unique(section.image_yx, return_counts=True)
        constant = section.image_yx == values[counts.argmax()]
        if 0.15 < constant.mean() < 0.85 and label(constant)[1] == 1:
            cut += 1
            assert not section.labels_yx[constant].any()
    assert cut >= 2


def test_invisible_particles_carry_no_label() -> None:
    damage = SOUND | {"faint": (1.0, 1.0)}
    shape = PLAIN_SHAPE | {"area_fraction": (0.4, 0.4)}
    contrasts = []
    for seed in SEEDS:
        section = draw_section(seed, shape=shape, damage=damage, imaging=CLEAN)
        background = np.median(section.image_yx[section.labels_yx == 0])
        for number in range(1, section.labels_yx.max() + 1):
            mask = section.labels_yx == number
            if mask.sum() < 500:  # a sliver at the edge of the section is all soft edge
                continue
            inner = np.median(section.image_yx[mask])
            contrasts.append((inner - background) / (0.6 * 255))
    assert len(contrasts) > 10
    assert min(contrasts) > 0.2
    assert max(contrasts) < 0.95


def test_section_may_be_oblong() -> None:
    section = training_section(np.random.default_rng(1), (96, 200), TomoSectionParams())
    assert section.labels_yx.shape == section.image_yx.shape == (96, 200)


def test_number_labels_keeps_largest_piece() -> None:
    labels = np.array([[7, 7, 0, 3], [0, 0, 0, 3], [7, 0, 0, 0]], np.int32)
    expected = [[2, 2, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(number_labels(labels), expected)


def test_falling_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="contrast"):
        TomoSectionParams.model_validate({"imaging": {"contrast": (0.9, 0.2)}})


@pytest.mark.parametrize("sigma_px", [0.0, 1.2, 20.0])
def test_smooth_noise_has_unit_spread(sigma_px: float) -> None:
    rng = np.random.default_rng(0)
    fields = np.stack([draw_smooth(rng, (200, 180), sigma_px) for _ in range(20)])
    assert fields.shape == (20, 200, 180)
    assert fields.std() == pytest.approx(1, abs=0.15)


def test_streaks_run_along_their_direction() -> None:
    field = draw_streaks(np.random.default_rng(0), (128, 128), 0.0, 6.0)
    along = np.abs(np.diff(field, axis=1)).mean()
    across = np.abs(np.diff(field, axis=0)).mean()
    assert along < 0.4 * across
    assert field.std() == pytest.approx(1, abs=0.1)


def test_cells_cover_the_plane_and_edges_part_them() -> None:
    edge, cell = draw_cells(np.random.default_rng(0), (64, 80), 16.0)
    assert cell.min() >= 1
    crossing = cell[:, 1:] != cell[:, :-1]
    assert (np.minimum(edge[:, 1:], edge[:, :-1])[crossing] == 0).all()


def test_waves_are_periodic_with_unit_spread() -> None:
    waves = draw_waves(np.random.default_rng(0), 400, (2, 7), 1.0)
    assert waves.shape == (400, ANGLES)
    assert waves.std() == pytest.approx(1, abs=0.1)
    assert np.abs(waves[:, 0] - waves[:, -1]).max() < 0.2
