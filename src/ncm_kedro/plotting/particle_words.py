"""What the page on particles says of its figures and definitions."""

from __future__ import annotations

BORDER_NOTE = (
    "Particles that touch the border of the volume or of the field of view are left out of every "
    "distribution and every comparison, positions included."
)
CAPTIONS = {
    "distributions": "The 24 attributes of Table S1 by sample. Bar: median; thick line: quartiles. "
    "Volumes and outer surfaces on a logarithmic scale",
    "stages": "Position, sphericity, volume and damage by sample, and damage against volume. p: "
    "Mann-Whitney U after Holm over the attributes; δ: Cliff's delta, positive where the later "
    "sample is larger. Grey bars, where uncertainties were measured and particles are few: how far "
    "the segmentation could move the damage",
    "profiles": "Damage in shells from surface to core, whole particles. Thick line: all voxels of "
    "a shell together, so that large particles count more; dotted line and band: median and "
    "quartiles over particles, which count alike",
    "pairs": "Attributes against each other; above the diagonal Spearman's rank correlation, in "
    "the colour of the sample",
    "truth": "Measured against known values. Filled: whole particles, which the numbers are of; "
    "hollow: cut by the border. Bias: mean of measured minus true (volume and diameter: in per "
    "cent of the true value) ± standard deviation",
}
SHEET_CAPTION = (
    "The most and the least damaged whole particles of {sample}, cut in the xy plane through the "
    "centre; number and damage of the whole particle. Yellow: outline of the label; red: marked "
    "cracks and voids. A section may miss what the volume holds"
)
DEFINITIONS = {
    "corrected": (
        "Volume: the label with its cracks and voids filled (closing by a ball, then enclosed "
        "voids), without other particles. Damage: share of it that is crack or void.",
        "Surfaces: Crofton's formula over 13 directions; outer: of the filled particle, inner: of "
        "its cracks and voids. Sphericity 36 π V² / S³ and vs_ratio V^(1/3) / S^(1/2) take the "
        "outer surface: they are one quantity in two forms. Elongation: longest over shortest "
        "principal axis.",
        "Contact: share of the outer surface that faces another particle across the contact gap "
        "or less. Packing density: labelled share of the window around the particle that lies in "
        "the volume and the field of view. Distance: mean to the nearest particles' centres; "
        "*_std and orientation isotropy (nematic order, 1: aligned): over the nearest whole ones.",
        "Electron density and homogeneity: mean and inverse standard deviation of the grey values "
        "of the solid, cracks left out. What is not defined is null, never 0. docs/attributes.md "
        "sets every definition beside the paper's text and code.",
    ),
    "paper": (
        "These are the definitions of Li et al. 2022 as the text gives them, the published code's "
        "where it is silent, known errors included: intact particles get damage, grey values "
        "include the cracks, shape takes the surface of the cracks along. Use them to compare "
        "with published numbers, and the preset corrected for everything else. "
        "docs/attributes.md sets both side by side.",
        "Orientation isotropy is here the standard deviation of the angles over the nearest "
        "particles, in degrees.",
    ),
}
STATISTICS = (
    "Difference: of the medians, with its bootstrap interval. p: two-sided Mann-Whitney U "
    "test, after Holm over the attributes of a pair. Cliff's delta: how much more often a "
    "particle of the second sample is above one of the first than below it, from -1 to 1; "
    "its size in words after Romano et al. (2006): negligible below 0.147, small below 0.33, "
    "medium below 0.474, large above. Intervals are at a confidence of {confidence:.4g} %."
)
UNCERTAINTY = (
    "Everything was measured again with outlines one voxel wider and one voxel tighter and, where "
    "cracks are marked and grey values are known, with the threshold between solid and crack "
    "raised and lowered. Uncertainty: half the span of what came out. Spread: between the "
    "quartiles of the particles (of angles: about their mean axis). Ratio: uncertainty over "
    "spread. Outlines that are wrong in the same way everywhere move all particles together: that "
    "shifts medians, and leaves the order of the particles nearly as it is. Noise, the choice of "
    "definition and particles that were not found are not in these numbers."
)
PROFILES = (
    "Depth is counted from each particle's surface to its deepest place. Shells near the core hold "
    "few voxels: their quartiles are rough, and an inner void shows there as damage. Outlines that "
    "stand too far out or in show as too much or too little damage in the first shell."
)
