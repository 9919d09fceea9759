"""Distil a CLIP-like dual encoder into a phone-sized one, export it in int8 and prove what the files can do."""

__version__ = "0.1.0"
