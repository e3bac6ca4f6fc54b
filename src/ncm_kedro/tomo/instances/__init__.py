"""From the fused map to labels: components, watershed, refinement.

Scores live in `tomo.scoring`.
"""
