"""Where to find the trained models of `keras.applications` for torch."""

_TORCHVISION = {
    "ConvNeXtBase": "convnext_base",
    "ConvNeXtLarge": "convnext_large",
    "ConvNeXtSmall": "convnext_small",
    "ConvNeXtTiny": "convnext_tiny",
    "DenseNet121": "densenet121",
    "DenseNet169": "densenet169",
    "DenseNet201": "densenet201",
    **{f"EfficientNetB{size}": f"efficientnet_b{size}" for size in range(8)},
    "EfficientNetV2L": "efficientnet_v2_l",
    "EfficientNetV2M": "efficientnet_v2_m",
    "EfficientNetV2S": "efficientnet_v2_s",
    "InceptionV3": "inception_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3_large",
    "MobileNetV3Small": "mobilenet_v3_small",
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "ResNet152": "resnet152",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
}
_TIMM = {
    "ConvNeXtXLarge": "convnext_xlarge",
    **{f"EfficientNetV2B{size}": f"tf_efficientnetv2_b{size}" for size in range(4)},
    "InceptionResNetV2": "inception_resnet_v2",
    "MobileNet": "mobilenetv1_100",
    "NASNetLarge": "nasnetalarge",
    "NASNetMobile": "mnasnet_100",
    "ResNet50V2": "resnetv2_50",
    "ResNet101V2": "resnetv2_101",
    "ResNet152V2": "resnetv2_152",
    "Xception": "legacy_xception",
}
_CALL = ", and call the module on a symbolic tensor of channels-first images"
_MODELS = {
    name: f"make `torchvision.models.{model}(weights='DEFAULT')`{_CALL}"
    for name, model in _TORCHVISION.items()
} | {
    name: f"make `timm.create_model({model!r}, pretrained=True)`{_CALL}"
    for name, model in _TIMM.items()
}
_IMAGES = {
    "preprocess_input": "the weights know their own: `torchvision.models.get_model_weights(name)"
    ".DEFAULT.transforms()`",
    "decode_predictions": "the weights know their classes: `torchvision.models."
    "get_model_weights(name).DEFAULT.meta['categories']`",
}
_FAMILIES = (
    "convnext", "densenet", "efficientnet", "efficientnet_v2", "imagenet_utils",
    "inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2", "mobilenet_v3", "nasnet",
    "resnet", "resnet50", "resnet_v2", "vgg16", "vgg19", "xception",
)  # fmt: skip

# any family answers for any model: `applications.resnet50.ResNet50` and `applications.ResNet50`
INSTEAD = {**_MODELS, **{family: {**_MODELS, **_IMAGES} for family in _FAMILIES}}
