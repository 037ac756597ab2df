"""`unfold`: record the calls inside an existing module instead of the module."""

from .unfold import unfold as unfold
