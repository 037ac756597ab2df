"""How the objects in a model can be made again, and how they differ from new ones.

Model files and `to_source` both write a model as constructor calls and the differences from their
results.
"""
