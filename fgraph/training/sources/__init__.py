"""Sources of batches: arrays, data sets, loaders, iterables; each has a position to go back to."""
