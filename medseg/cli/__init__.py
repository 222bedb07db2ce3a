"""The command line. One file per command: parse, call one public function, print, exit code.

No module here imports numpy, pydantic or anything heavier at its top: the public functions behind
``medseg.`` are loaded when a command calls them, so that ``medseg --help`` answers at once.
"""
