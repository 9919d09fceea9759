"""The speed suite: every axis that a user would compare on, as ratios of interleaved runs on one machine."""
