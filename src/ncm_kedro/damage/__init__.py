"""What explains the damage of particles: preparation, forests, SHAP, resampling, synchrony.

The attributes are measured in `particles`; figures and the report live in `plotting.damage`.
"""
