"""How calls on symbolic values become nodes: `Input`, handles, interception."""
