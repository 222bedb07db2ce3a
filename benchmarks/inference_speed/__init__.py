"""The parts of ``benchmarks/inference.py``: networks and scans, one worker per tool, tables and the plot."""
