"""One module per foreign layout that `medseg.import_dataset` reads: what is there, and each case's arrays."""
