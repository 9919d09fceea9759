"""The same place and precision for each test as those of distillation have."""

from tests.distill.conftest import _fresh_accelerator, _own_place

__all__ = ["_fresh_accelerator", "_own_place"]
