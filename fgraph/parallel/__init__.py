"""Several devices and memory: functions that plan on the graph, and run on `torch.distributed`.

Loaded on first use.
"""

from ..training.processes.distributed import start as start
from .distribute import distribute as distribute
from .pipeline_stage import stage as stage
from .stage_cuts import stages as stages
