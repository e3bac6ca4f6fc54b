"""Image classification with torch and timm, for any labelled crops.

No pandas, zarr, kedro or mlflow: it runs on any GPU machine. SEM frames live in `sem`.
"""
