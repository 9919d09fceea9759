"""An exporter on a host that has no coremltools: importing it fails as the real one would."""

raise ModuleNotFoundError("No module named 'coremltools'", name="coremltools")
