"""What stands beside a registered model: trained on, scores, promotion, what it cannot do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ncm_kedro.learning.evaluation.promotion import Promotion


def write_card(
    *,
    trained_on: str,
    scores: Iterable[str],
    promotion: Promotion,
    cannot: Iterable[str],
    tags: Mapping[str, str],
) -> str:
    """Write a model card in Markdown.

    Parameters
    ----------
    trained_on
        Data, in a sentence.
    scores
        A line per score, with its interval where there is one.
    promotion
        Whether it went into production, and why.
    cannot
        What may not be expected of it, a line each.
    tags
        Lineage by name.
    """
    sections = {
        "Trained on": [trained_on, *(f"{name}: {value}" for name, value in tags.items() if value)],
        "Scores": list(scores),
        "Promotion": [
            "earned" if promotion.promoted else "not earned",
            *promotion.reasons,
        ],
        "What it cannot do": list(cannot),
    }
    return "\n\n".join(
        f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines if line)
        for title, lines in sections.items()
        if any(lines)
    )
