"""What the docks show, worked out without Qt."""
