"""Ids of the report's rows that are not files of the bundle."""

from __future__ import annotations

TEACHER, STUDENT = "teacher-fp32", "student-fp32"  # rows that relative recall and ratios of time refer to
CLIP, PLAIN_ONNX, PLAIN_EXECUTORCH = "clip-vit-b32", "plain-onnx", "plain-executorch"
