"""From attribute tables to the matrix that is explained: columns, exclusions, spatial blocks.

No model is fitted here.
"""
