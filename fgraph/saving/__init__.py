"""Models as files: one format that holds no code, read without unpickling.

The parts that do the work are imported when they are first needed.
"""

from ..errors import LoadError as LoadError
from ..errors import SaveError as SaveError
from .registered import register as register
