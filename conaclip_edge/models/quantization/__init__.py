"""A tower that computes in int8: its activation sites, their grids in quantization.json, and int8 weights."""
