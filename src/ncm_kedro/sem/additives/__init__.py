"""The classifier on electrodes with additives that it never saw.

Plain classification lives in `sem.inference`.
"""
