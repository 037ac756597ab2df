"""`unfold`: record the calls inside a module that exists, in place of the module."""

from .unfold import unfold as unfold
