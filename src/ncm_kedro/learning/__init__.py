"""Training and judging classifiers with torch and timm."""
