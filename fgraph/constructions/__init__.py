"""How the objects in a model are made again, and what sets them apart from new ones.

Model files and `to_source` both write a model as constructor calls, and what these do not say.
"""
