"""Inspecting a model: summary, pictures, profile, intermediate results."""
