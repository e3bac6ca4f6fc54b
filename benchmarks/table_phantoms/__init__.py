"""Tables of particles whose damage follows a known model: what attribution is proven on.

Phantoms of volumes, which the pipelines segment, are in `ncm_kedro.synthetic.tomo`.
"""
