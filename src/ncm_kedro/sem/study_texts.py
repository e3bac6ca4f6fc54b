"""What each study asks, and what to distrust in its answer."""

from __future__ import annotations

from ncm_kedro.params.sem_studies import StudyName

TEXTS: dict[StudyName, tuple[str, str]] = {
    "crop_size": ("Crop size", "How much ground must a crop show at the frames' own pixel size?"),
    "image_count": ("Images per class", "How many crops per class are enough?"),
    "normalisation": ("Normalisation", "Does normalising grey values help, trained anew?"),
    "grey_levels": ("Grey levels", "Do grey levels alone tell classes, or splits, apart?"),
    "weights": ("Pretrained weights", "Are published weights a better start than random ones?"),
    "augmentation": ("Augmentation", "Do random flips, turns, shifts and contrast help?"),
    "magnification": ("Magnification", "Does the magnification matter?"),
    "accelerating_voltage": ("Accelerating voltage", "Does the accelerating voltage matter?"),
    "microscope": ("Microscope", "Does another microscope, such as an optical one, do as well?"),
    "split": ("Split", "What is a test worth whose frames overlap those of training?"),
}
"""Title and question of each study."""

CAVEATS = (
    "One seed and one split: another seed of weights or of cuts moves a score too; set `seed` "
    "anew to see by how much.",
    "Intervals resample areas within classes: they say nothing about another electrode or session.",
    "Each difference has an interval of its own; among many, some exclude zero by chance.",
)
"""What holds for all of them."""

NOTES: dict[StudyName, tuple[str, ...]] = {
    "crop_size": (
        "The number of crops is the same at every size, the ground is not: larger crops overlap "
        "each other more, and their test shows fewer areas.",
    ),
    "image_count": (
        "More crops come from the same ground; as published, the validation split grows with them.",
    ),
    "normalisation": (
        "One network is also tested on crops normalised per image that it was never trained on.",
    ),
    "split": ("Split by frame, test crops show ground that training crops show too.",),
}
"""What holds for one."""
