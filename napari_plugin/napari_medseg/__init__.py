"""medseg in napari: scans and segmentations open where they lie in the patient."""
