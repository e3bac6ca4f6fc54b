"""Training of the detector on phantoms and labelled sections.

Applying it lives in `tomo.detector`.
"""
