"""Studies, transfer and the expert survey.

A single training lives in `learning.training`, the page of the survey in `plotting.sem`.
"""
