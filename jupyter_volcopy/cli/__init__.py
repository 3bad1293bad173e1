"""The commands `dcp` (copies) and `volcopy` (everything else)."""
