"""Quality and exclusion of frames, confounding, the audit of a data set.

Unique imaged area lives in `sem.crops`, the evaluation of models in `sem.inference`.
"""
