"""Ids of the report's rows that are not files of the bundle."""

from __future__ import annotations

TEACHER, STUDENT = "teacher-fp32", "student-fp32"  # rows that relative recall and ratios of time refer to
CLIP = "clip-vit-b32"
PLAIN_ONNX, PLAIN_ONNX_STATIC, PLAIN_ONNX_FLOAT = "plain-onnx", "plain-onnx-static", "plain-onnx-fp32"
PLAIN_EXECUTORCH = "plain-executorch"
PLAIN = (PLAIN_ONNX_FLOAT, PLAIN_ONNX_STATIC, PLAIN_ONNX, PLAIN_EXECUTORCH)  # files that a bundle has to beat
