"""What to write instead of the functions of `keras.ops` that `fgraph.ops` does not have."""

INSTEAD = {
    "custom_gradient": "write a torch.autograd.Function, called by "
    "`fgraph.apply(Function.apply, x)`",
}
