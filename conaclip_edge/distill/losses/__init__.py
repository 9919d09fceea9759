"""The supervisions of the interaction graph, one a file, as pure functions of embeddings or similarity matrices."""

from conaclip_edge.distill.losses.feature_distance import feature_distance
from conaclip_edge.distill.losses.infonce import infonce
from conaclip_edge.distill.losses.kl import kl, symmetric_kl
from conaclip_edge.distill.losses.similarity_distance import similarity_distance

__all__ = ["feature_distance", "infonce", "kl", "similarity_distance", "symmetric_kl"]
