"""One module per layout of a training dataset: its folder or list to a `Dataset`. No voxels are read."""
