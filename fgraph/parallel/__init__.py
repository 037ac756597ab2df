"""More than one device: a few verbs over `torch.distributed` that use what only the graph knows.

Loaded on first use.
"""

from ..training.processes.distributed import start as start
from .distribute import distribute as distribute
from .pipeline_stage import stage as stage
from .stage_cuts import stages as stages
