"""SEM frames: from files of microscopes to crops, predictions and studies.

Networks live in `learning`, files in `datasets.frames`.
"""
