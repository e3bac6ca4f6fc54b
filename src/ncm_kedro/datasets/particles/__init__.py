"""Tables of particles: resumable measurements, one parquet file per sample.

What is measured lives in `particles`.
"""
