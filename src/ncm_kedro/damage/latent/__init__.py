"""The regularised auto-encoder, its dimension, and rank correlations of latent variables.

The forests live in `damage`.
"""
