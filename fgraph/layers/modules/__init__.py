"""The torch modules behind layers for which torch has none of its own."""

from .activation import PReLUByAxes as PReLUByAxes
from .kept_losses import ActivityLoss as ActivityLoss
from .kept_losses import KeptLoss as KeptLoss
from .kept_losses import add_losses as add_losses
from .kept_losses import losses_so_far as losses_so_far
