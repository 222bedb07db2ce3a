"""How edits stay: the journal on the disk, the history, sessions that are offered back."""
