"""Ids of the report's rows that are not files of the bundle."""

from __future__ import annotations

CLIP, PLAIN_ONNX, PLAIN_EXECUTORCH = "clip-vit-b32", "plain-onnx", "plain-executorch"
