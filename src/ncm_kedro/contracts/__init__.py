"""What every table must satisfy."""
