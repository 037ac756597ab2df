"""Looking at a model: summary, pictures, profile, intermediate results, learning curves."""
