"""What to write instead of the layers that Keras has and fgraph does not."""

_IMAGES = "augment images where they are loaded, by `torchvision.transforms.v2.{}`"
_STRINGS = (
    "torch has no tensors of strings: turn text into whole numbers before the model, for example "
    "by a dictionary, and begin the graph with `Input(shape, dtype='int64')`"
)
_CONFIG = "call `layer.get_config()` and `Dense.from_config(config)`, or `model.save(path)`"
_OTHER_FRAMEWORK = "it runs another framework: write the computation in torch, or use its ONNX file"
_SEQUENTIAL = "call the layers one after the other, or put them into `fgraph.Sequential([...])`"

INSTEAD = {
    # images
    "AugMix": _IMAGES.format("AugMix"),
    "ContrastLimitedAdaptiveHistogramEqualization": _IMAGES.format("RandomEqualize"),
    "CutMix": _IMAGES.format("CutMix"),
    "MaxNumBoundingBoxes": "pad or cut the boxes where they are loaded, in the data set",
    "MixUp": _IMAGES.format("MixUp"),
    "RandAugment": _IMAGES.format("RandAugment"),
    # text and categories
    "HashedCrossing": "combine the columns where the data is loaded, before the model",
    "StringLookup": _STRINGS,
    "TextVectorization": _STRINGS,
    # tools
    "FlaxLayer": _OTHER_FRAMEWORK,
    "InputSpec": "check the shapes in `build(self, input_shape)` and raise a ValueError there",
    "JaxLayer": _OTHER_FRAMEWORK,
    "TFSMLayer": _OTHER_FRAMEWORK,
    "TorchModuleWrapper": "call the module itself on a symbolic tensor: `module(x)`",
    "Wrapper": "derive from `Layer`, keep the inner layer as an attribute and call it in `call`",
    "deserialize": _CONFIG,
    "serialize": _CONFIG,
    # names of Keras 1 and 2
    "CuDNNGRU": "write `GRU`: torch chooses the kernel",
    "CuDNNLSTM": "write `LSTM`: torch chooses the kernel",
    "LocallyConnected1D": "Keras 3 removed it; `x.unfold` and `EinsumDense` do the same",
    "LocallyConnected2D": "Keras 3 removed it; `x.unfold` and `EinsumDense` do the same",
    "ThresholdedReLU": "write `ReLU(threshold=theta)`",
    "merge": "write `concatenate`, `add`, `multiply`, `average`, `maximum` or `dot`",
    # names of torch
    "Linear": "write `Dense(units)`, or call torch's `nn.Linear(in, out)` on the symbolic tensor",
}
