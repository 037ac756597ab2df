"""Models for other programs: `.pt2` and `.onnx`, `torch.fx`, plain PyTorch source."""
