"""The torch modules behind layers for which torch has none of its own."""

from .activation import PReLUByAxes as PReLUByAxes
from .activity import ActivityLoss as ActivityLoss
