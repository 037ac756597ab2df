"""Helpers that several rooms share: processes, files, configurations, checks of numbers."""
