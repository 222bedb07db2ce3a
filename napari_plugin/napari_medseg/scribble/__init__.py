"""A few strokes become a region in 3D."""
