"""What training at size costs, measured on a small machine: docs/results/at-size.md."""
