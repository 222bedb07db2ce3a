"""Widgets: thin wiring of Qt to the plain Python beside this folder."""
