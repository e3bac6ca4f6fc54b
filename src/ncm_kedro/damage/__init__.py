"""What makes particles crack, and how sure one can be of it."""
