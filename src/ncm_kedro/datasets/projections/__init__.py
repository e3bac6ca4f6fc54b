"""Raw projections on disk: readers of scans, the folder of a user's scans, phantom scans.

What is done with projections lives in `holo`.
"""
