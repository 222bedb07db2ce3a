"""Edits of a label array: each a box of new ids; no session, no viewer."""
