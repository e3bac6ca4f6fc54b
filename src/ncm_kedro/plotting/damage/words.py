"""Numbers of damage attribution as text, on tables and in sentences.

What the page on damage attribution says of its figures, settings and limits.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

_MONOTONE = 0.2


def write_sign(direction: float) -> str:
    """Return the sign of a direction, ``~`` where there is no one direction.

    Parameters
    ----------
    direction
        In [-1, 1], or NaN.
    """
    if not np.isfinite(direction):
        return ""
    if abs(direction) < _MONOTONE:
        return "~"
    return "+" if direction > 0 else "\N{MINUS SIGN}"


def write_percent(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Return a share and its interval in per cent.

    Parameters
    ----------
    value, low, high
        Shares, 1 being all.
    signed
        Whether a plus is written.
    """
    form = "+.1f" if signed else ".1f"
    middle, start, end = (trim_number(f"{100 * each:{form}}") for each in (value, low, high))
    return f"{middle} ({start} to {end})"


def write_number(value: float, digits: int = 2) -> str:
    """Return a number, ``''`` where there is none.

    Parameters
    ----------
    value
        A number, or NaN.
    digits
        Behind the point.
    """
    return "" if pd.isna(value) else trim_number(f"{value:.{digits}f}")


def write_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """Return a number and its interval, ``''`` where there is no number.

    Parameters
    ----------
    value, low, high
        Numbers.
    digits
        Behind the point.
    """
    middle, start, end = (write_number(each, digits) for each in (value, low, high))
    return f"{middle} ({start} to {end})" if np.isfinite([value, low, high]).all() else middle


def trim_number(text: str) -> str:
    """Return a number without the sign of a rounded 0, and with a true minus sign.

    Parameters
    ----------
    text
        A number.
    """
    if text.startswith(("-", "+")) and not text.strip("+-0."):
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def write_p(value: float) -> str:
    """Return a p-value or false-discovery rate, ``''`` where there is none.

    Parameters
    ----------
    value
        In [0, 1], or NaN.
    """
    return "" if pd.isna(value) else f"{value:.2g}"


ASSOCIATION = (
    "What goes with damage is not what causes it. An attribute ranks high if damage can be told "
    "from it, also where both follow from something that was not measured. Only an experiment, or "
    "the same particles before and after, can tell cause."
)
SHARING = (
    "Attributes that are much alike are explained as one group, named with +: which of them "
    "matters cannot be told. Groups that are less alike still share what they have in common, by "
    "how the trees use them."
)
ALONE = (
    "Within a group the forest spreads the worth over its members as its trees happen to choose: "
    "compare groups, not members of one group."
)
NOTHING_EXPLAINED = "The attributes explain nothing of the damage here: no ranking."
ONE_SAMPLE = "There is one sample: nothing to compare it with."
NOT_COMPARABLE = (
    "These samples were not scanned alike, see the notes in section 1: they are explained each for "
    "itself, and no differences are shown."
)
DIFFERENCES = (
    "Difference: later minus earlier, in percentage points of the variance of damage that a group "
    "explains. It says that a group tells more, or less, of the differences between particles of "
    "that sample, not that damage there is higher. Where a sample is not explained, its shares are "
    "those of noise."
)
SYNCHRONY = (
    "Moran's I is above its chance value where particles in contact have more alike damage than "
    "particles at random; 0 or so: every particle by itself. Errors of the segmentation blur it "
    "towards 0. Synchronous in the sense of Li et al. would also be a damage that varies less "
    "between particles; the spread is given beside it."
)
CONFIDENCE = (
    "Every forest was also given a column of pure noise. What falls to it is the floor: a group "
    "that is not above it says nothing."
)
MOVED = (
    "In each draw the attributes and the damage were moved at random within the uncertainty that "
    "the segmentation leaves them, and ranked again. Errors that move all particles alike, and "
    "particles that were not found, are not in this."
)
NOT_MOVED = (
    "No uncertainty of the attributes is known: how far the segmentation could change the ranks "
    "was not tried. Measure with `uncertainty: true` in particle_features."
)
GREY = (
    "Grey values are not free of damage: walls of cracks blur into electron density and "
    "homogeneity, and so do cracks that are too thin to be marked. A driver that acts through the "
    "chemistry of a particle would be set aside with them, and cannot be seen here."
)
LEAKING = (
    "Some attributes are measured on the cracks themselves, and predict damage because they are "
    "damage. Here they were let in once, to show what a ranking with them is worth: a better "
    "prediction, and nothing learnt about why particles crack. No intervals were drawn for it."
)
NO_LEAKS = "No attribute that holds the damage was kept apart: there is nothing to show."
LEAKS_IN = (
    "Explained with attributes that hold the damage ({names}), as the settings ask: whatever "
    "stands on top may be damage itself. Set `attributes: leakage_free` to leave them out."
)
PAPER = (
    "This is the analysis of Li et al. 2022 on the same particles, to be set beside their "
    "figures. Read it with care: SHAP values are taken on the very particles that the forest was "
    "grown on, the 5 % of test particles lie at random among their neighbours, and the scatter is "
    "that of particles drawn again from one volume. No attribute can get a share of 0, not even "
    "pure noise. Where it differs from section 3: that one was "
    "tested on particles held out."
)
PAPER_UNEXPLAINED = (
    "{sample}: held-out particles are not explained at all. The paper's figure ranks attributes "
    "all the same; this ranking is one of noise, or of attributes that hold the damage."
)
PAPER_NOT_COMPARABLE = (
    "The differences between samples in these figures are between samples that were not scanned "
    "alike: do not read them."
)
AUTOENCODER = (
    "The auto-encoder was given {dimensions} latent dimension{s}, by values that were hidden from "
    "it and predicted from the other attributes; the paper's choice, by the error of whole "
    "validation rows, would be {best}. Kept, because they matter to the reconstruction: {kept}."
)
NO_PAIRS = "Fewer than two {things} are left: there is nothing to correlate."
NO_LINKS = "No two {things} are correlated enough to count as a link."
NO_CORRELATIONS = "No correlations were computed."
NO_ERRORS = "No auto-encoder was trained."
TRUTH = (
    "The damage of these samples was simulated. Weight: change of the logit of damage "
    "for one standard deviation of the driver. Found: significant, with the simulated sign."
)
DEFINITIONS = (
    "Damage of a particle is predicted by random forests (Breiman 2001) that never saw it nor its "
    "neighbours: each sample is cut into blocks of space, and whole blocks are held out (Roberts "
    "et al. 2017). R²: 1 less the squared error over that of the mean damage of the training "
    "particles. A sample counts as explained if the interval of its R² lies above 0 and its "
    "p-value is at most the false-discovery level.",
    "SHAP values are the exact path-dependent ones (Lundberg et al. 2020); a group of attributes "
    "is one player of the game (Owen 1977). Share explained: the part of the out-of-sample R² "
    "that a group brings. The parts of all groups and of the noise column sum to R²; a negative "
    "part means that the group only added scatter.",
    "Sign: rank correlation of the SHAP values of the group's first attribute with its values; "
    "~ where its amount is below 0.2, which is no one direction. See the dependence then.",
    "Intervals: blocks drawn again with replacement, each time with new forests. p: the larger "
    "of two shares, of forests on permuted damage in which the group does at least as well, and of "
    "bootstraps in which its part is not above 0. q: after Benjamini and Hochberg (1995) over the "
    "groups of a sample. Differences: both samples' bootstraps, subtracted.",
    "Moran's I (Moran 1950) on the graph of contacts, each contact once; intervals by leaving out "
    "one block after the other, p-values by permuting damage over the particles. "
    "Differences of samples: Welch's t of the two.",
    "The paper: Li et al., Science 376, 517 (2022), doi:10.1126/science.abm8962, and its "
    "supplement. Attributes carry the names of its Table S1.",
)
CAPTIONS = {
    "importance": "Share of the variance of damage that each group explains in particles held out, "
    "with its interval, its sign (+: more damage where the attribute is larger) and its rank with "
    "interval. Dashed, with band: the column of pure noise",
    "scores": "How well damage of held-out particles is predicted: forest, linear model, and the "
    "mean damage alone",
    "beeswarm": "What each attribute adds to, or takes from, the predicted damage of each particle "
    "held out. Only samples whose damage is explained",
    "dependence": "What an attribute adds to the predicted damage, against its value: particles, "
    "running median and quartiles. The first member of each of the groups that explain most; only "
    "samples whose damage is explained",
    "differences": "Change of the share explained, by group, with its interval",
    "uncertain_ranks": "How often each group takes each rank when attributes and damage move "
    "within their uncertainty. Only samples whose damage is explained",
    "leaks": "What explains most with the attributes that hold the damage (hatched), and without "
    "them. Only samples whose damage is explained without them",
    "synchrony": "Likeness of the damage of neighbours, and spread of damage, with intervals; "
    "right: later minus earlier",
    "correlations": "Pearson's correlation of each attribute with damage (Fig. S11 of Li et al.): "
    "mean and standard deviation over subsamples; above, the difference between samples",
    "autoencoder": "Error of the auto-encoder against the number of latent dimensions (Fig. S8B-D)",
    "latent_matrices": "Correlations of the latent dimensions by sample (Fig. S9A, B)",
    "latent_circles": "The same as links: what differs between samples is strong, what all have in "
    "common faint (Fig. S9C, D)",
    "attribute_matrices": "Correlations of the attributes decoded from the kept latent dimensions "
    "(Fig. S10A, B)",
    "attribute_circles": "The same as links (Fig. S10C, D)",
    "paper": "Share of the absolute SHAP values in each forest of the paper (Fig. 4): triangles, "
    "parts of the particles; squares, random numbers of the forest",
}
