"""Files: atomic writes, arrays, NIfTI, provenance."""
