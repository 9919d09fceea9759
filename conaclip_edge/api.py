"""What `import conaclip_edge` gives."""

from __future__ import annotations

from conaclip_edge.bundle.open import open_bundle as open_bundle
