"""The queue of cases, their status, and corrected ones as a training dataset."""
