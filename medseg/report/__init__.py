"""Pictures of segmentations and of training runs, and the page of a study.

Its modules are imported one by one: drawing a slice needs neither metrics nor the page.
"""
