"""What to write instead of the modules of Keras that are not about layers or training."""

_DTYPE = "compile(precision='bfloat16') runs in lower precision; `Layer(dtype=...)` sets weights'"
_FLOATX = "call `torch.get_default_dtype()`"
_SET_FLOATX = "call `torch.set_default_dtype(torch.float64)`"
_EPSILON = "pass `epsilon=` to the layer, loss or optimizer itself"
_CHANNELS = "pass `data_format='channels_first'` to the layers; 'channels_last' is the default"
_BACKEND = "there is one, torch"
_PROGRESS = "pass `verbose=0`, 1 or 2 to fit, evaluate and predict"
_FLASH = "torch chooses; `torch.nn.attention.sdpa_kernel` restricts the choice"
_TRACEBACK = "errors name the layer; Python's own traceback is never changed"
_LIMIT = "pass `epochs=` and `steps_per_epoch=` to fit"
_SAVED = "files hold no code, and there is nothing to enable; see `fgraph.load_model`"
_QUANTIZE = "quantize the torch model by `torchao.quantization.quantize_(model, config)`"
_PARALLEL = "train with `torchrun`: fit spreads batches over the processes that it started"
_DISTILL = "add the teacher's outputs as targets, or write `train_step` in a subclass of Model"
_CONFIG = "call `layer.get_config()`, which is plain data, or `model.save(path)`"
_REGISTER = "decorate the class with `@fgraph.register('package>Name')`"
_SCOPE = f"pass `custom_objects={{name: object}}` to load_model, or {_REGISTER}"
_TABULAR = "encode the columns where the data is loaded, with pandas or sklearn.preprocessing"
_SEQUENCE = "index the array in a `torch.utils.data.Dataset`, or cut it by `series.unfold(0, n, 1)`"
_TEXT = "read the files in a `torch.utils.data.Dataset` that returns whole numbers"
_AUDIO = "read the files in a `torch.utils.data.Dataset`, by `torchaudio.load`"

_POLICIES = dict.fromkeys(
    "DTypePolicy DTypePolicyMap FloatDTypePolicy Policy deserialize dtype_policy get "
    "global_policy serialize set_dtype_policy set_global_policy".split(),
    _DTYPE,
)
_KEEP = {
    "backend": _BACKEND,
    "epsilon": _EPSILON,
    "floatx": _FLOATX,
    "image_data_format": _CHANNELS,
    "set_epsilon": _EPSILON,
    "set_floatx": _SET_FLOATX,
    "set_image_data_format": _CHANNELS,
}
_IMAGE_FILES = {
    "array_to_img": "call `PIL.Image.fromarray(array)`",
    "img_to_array": "call `numpy.asarray(image)`",
    "load_img": "call `PIL.Image.open(path)`",
    "save_img": "call `PIL.Image.fromarray(array).save(path)`",
    "smart_resize": "call `torchvision.transforms.v2.functional.resize(image, size)`",
}
_FOLDERS = {
    "audio_dataset_from_directory": _AUDIO,
    "text_dataset_from_directory": _TEXT,
    "timeseries_dataset_from_array": _SEQUENCE,
}
_OBJECTS = {
    "CustomObjectScope": _SCOPE,
    "custom_object_scope": _SCOPE,
    "deserialize_keras_object": _CONFIG,
    "get_custom_objects": _SCOPE,
    "get_registered_name": _REGISTER,
    "get_registered_object": _REGISTER,
    "register_keras_serializable": _REGISTER,
    "serialize_keras_object": _CONFIG,
}

SAVING = _OBJECTS | {
    "KerasFileEditor": "call `model.get_weights()` and `model.set_weights(...)`",
    "load_model": "call `fgraph.load_model(path)`",
    "load_weights": "call `model.load_weights(path)`",
    "save_model": "call `model.save(path)`",
    "save_weights": "call `model.save_weights(path)`",
}
EXPORT = {"ExportArchive": "call `model.export(path)`, which writes .pt2 and .onnx files"}
MODELS = {"save_model": "call `model.save(path)`"}
UTILS = (
    _OBJECTS
    | _IMAGE_FILES
    | _FOLDERS
    | {
        "Config": "use a dict, or a dataclass",
        "FeatureSpace": _TABULAR,
        "Progbar": "use `tqdm.tqdm`",
        "Sequence": "write `utils.PyDataset`, as it is called since Keras 3",
        "bounding_boxes": dict.fromkeys(
            "affine_transform clip_to_image_size convert_format crop pad".split(),
            "use `torchvision.transforms.v2` on `torchvision.tv_tensors.BoundingBoxes`",
        )
        | {
            "compute_ciou": "call `torchvision.ops.complete_box_iou(boxes, others)`",
            "compute_iou": "call `torchvision.ops.box_iou(boxes, others)`",
            "decode_deltas_to_boxes": "use the coder of a detector of `torchvision.models`",
            "encode_box_to_deltas": "use the coder of a detector of `torchvision.models`",
        },
        "clear_session": "nothing is kept between models: delete the model",
        "disable_interactive_logging": _PROGRESS,
        "enable_interactive_logging": _PROGRESS,
        "get_file": "call `torch.hub.download_url_to_file(url, path)`",
        "get_source_inputs": "a model knows its `model.inputs`",
        "is_interactive_logging_enabled": _PROGRESS,
        "is_keras_tensor": "write `isinstance(x, fgraph.SymbolicTensor)`",
        "legacy": {name: _CONFIG for name in _OBJECTS if name.endswith("_object")},
        "model_to_dot": "call `utils.plot_model(model, 'model.dot')`",
        "pack_x_y_sample_weight": "write the tuple `(x, y, sample_weight)`",
        "standardize_dtype": "a torch dtype, or its name, stands wherever one is expected",
        "unpack_x_y_sample_weight": "unpack the tuple: `x, y = data`",
    }
)
TOP = {
    "DTypePolicy": _DTYPE,
    "FloatDTypePolicy": _DTYPE,
    "Function": "write `fgraph.Model(inputs, outputs)`",
    "InputSpec": "check the shapes in `build(self, input_shape)` and raise a ValueError there",
    "KerasTensor": "write `fgraph.SymbolicTensor`",
    "Operation": "derive from `layers.Layer`, or call any function by `fgraph.apply`",
    "Optimizer": "derive from `torch.optim.Optimizer` and pass the class to compile",
    "Quantizer": _QUANTIZE,
    "RematScope": "call the layers in a function under `torch.utils.checkpoint.checkpoint`",
    "StatelessScope": "call `torch.func.functional_call(model, parameters, inputs)`",
    "SymbolicScope": "call `fgraph.Input(shape)` and layers on it",
    "Variable": "write `torch.nn.Parameter`, or `self.add_weight` in a Layer",
    "device": "write `with torch.device(name):`, or `model.to(device)`",
    "name_scope": "pass `name=` to the layers",
    "remat": "call the layers in a function under `torch.utils.checkpoint.checkpoint`",
    "src": "it is no public module of Keras; public names stand in `fgraph` itself",
    "version": "it is text: `fgraph.__version__`",
}
MODULES = {
    "backend": _KEEP
    | {
        "clear_session": "nothing is kept between models: delete the model",
        "get_uid": "names are counted within each model",
        "is_float_dtype": "write `dtype.is_floating_point`",
        "is_int_dtype": "write `not (dtype.is_floating_point or dtype.is_complex)`",
        "is_keras_tensor": "write `isinstance(x, fgraph.SymbolicTensor)`",
        "result_type": "call `torch.result_type(x, y)`",
        "standardize_dtype": "a torch dtype, or its name, stands wherever one is expected",
    },
    "config": _KEEP
    | {
        "disable_flash_attention": _FLASH,
        "disable_interactive_logging": _PROGRESS,
        "disable_traceback_filtering": _TRACEBACK,
        "dtype_policy": _DTYPE,
        "enable_flash_attention": _FLASH,
        "enable_interactive_logging": _PROGRESS,
        "enable_traceback_filtering": _TRACEBACK,
        "enable_unsafe_deserialization": _SAVED,
        "is_flash_attention_enabled": _FLASH,
        "is_interactive_logging_enabled": _PROGRESS,
        "is_nnx_enabled": _BACKEND,
        "is_traceback_filtering_enabled": _TRACEBACK,
        "max_epochs": _LIMIT,
        "max_steps_per_epoch": _LIMIT,
        "set_backend": _BACKEND,
        "set_dtype_policy": _DTYPE,
        "set_max_epochs": _LIMIT,
        "set_max_steps_per_epoch": _LIMIT,
    },
    "distillation": dict.fromkeys(
        "DistillationLoss Distiller FeatureDistillation LogitsDistillation".split(), _DISTILL
    ),
    "distribution": dict.fromkeys(
        "DataParallel DeviceMesh LayoutMap ModelParallel TensorLayout distribute_tensor "
        "distribution initialize set_distribution".split(),
        _PARALLEL,
    )
    | {
        "get_device_count": "call `torch.cuda.device_count()`",
        "list_devices": "call `torch.cuda.device_count()`",
    },
    "dtype_policies": _POLICIES
    | dict.fromkeys(
        "AWQDTypePolicy GPTQDTypePolicy Int4DTypePolicy QuantizedDTypePolicy "
        "QuantizedFloat8DTypePolicy".split(),
        _QUANTIZE,
    ),
    "legacy": {"saving": {name: _CONFIG for name in _OBJECTS if name.endswith("_object")}},
    "mixed_precision": _POLICIES
    | {"LossScaleOptimizer": "compile(precision='float16') scales the loss"},
    "preprocessing": {
        "image": _IMAGE_FILES
        | {
            "ImageDataGenerator": "augment by `torchvision.transforms.v2` in a data set, such as "
            "`torchvision.datasets.ImageFolder(directory, transform)`"
        },
        "image_dataset_from_directory": "call `utils.image_dataset_from_directory(...)`",
        "sequence": {"pad_sequences": "call `utils.pad_sequences(...)`"},
        "text": {
            "Tokenizer": "make a dictionary of words from the texts, or use the package tokenizers",
            "text_to_word_sequence": "write `text.lower().split()`",
        },
    }
    | _FOLDERS,
    "quantizers": dict.fromkeys(
        "AWQConfig AbsMaxQuantizer Float8QuantizationConfig GPTQConfig Int4QuantizationConfig "
        "Int8QuantizationConfig QuantizationConfig Quantizer abs_max_quantize "
        "abs_max_quantize_grouped_with_zero_point compute_float8_amax_history "
        "compute_float8_scale deserialize fake_quant_with_min_max_vars get pack_int4 "
        "quantize_and_dequantize serialize unpack_int4".split(),
        _QUANTIZE,
    ),
    "random": {
        "SeedGenerator": "make a `torch.Generator().manual_seed(seed)`",
        "beta": "call `torch.distributions.Beta(alpha, beta).sample(shape)`",
        "binomial": "call `torch.distributions.Binomial(counts, probabilities).sample(shape)`",
        "categorical": "call `torch.distributions.Categorical(logits=logits).sample((n,)).T`",
        "dropout": "call the layer `layers.Dropout(rate)(x)`",
        "gamma": "call `torch.distributions.Gamma(alpha, 1.0).sample(shape)`",
        "normal": "call `torch.randn(shape)`, or `torch.randn_like(x)` in the graph",
        "randint": "call `torch.randint(low, high, shape)`",
        "shuffle": "write `x[torch.randperm(len(x))]`",
        "truncated_normal": "call `torch.nn.init.trunc_normal_(torch.empty(shape))`",
        "uniform": "call `torch.rand(shape)`, or `torch.rand_like(x)` in the graph",
    },
    "tree": {
        "MAP_TO_NONE": "write None, which is a leaf to torch",
        "assert_same_paths": "compare the second results of `torch.utils._pytree.tree_flatten`",
        "assert_same_structure": "compare the second results of `torch.utils._pytree.tree_flatten`",
        "flatten": "call `torch.utils._pytree.tree_leaves(structure)`",
        "flatten_with_path": "call `torch.utils._pytree.tree_flatten_with_path(structure)`",
        "is_nested": "write `isinstance(x, (dict, list, tuple))`",
        "lists_to_tuples": "write `tuple(x)`",
        "map_shape_structure": "call `torch.utils._pytree.tree_map(function, structure)`",
        "map_structure": "call `torch.utils._pytree.tree_map(function, structure)`",
        "map_structure_up_to": "call `torch.utils._pytree.tree_map(function, structure, is_leaf=)`",
        "pack_sequence_as": "call `torch.utils._pytree.tree_unflatten(leaves, spec)`",
        "traverse": "call `torch.utils._pytree.tree_map(function, structure)`",
    },
    "visualization": {
        "draw_bounding_boxes": "call `torchvision.utils.draw_bounding_boxes(image, boxes)`",
        "draw_segmentation_masks": "call `torchvision.utils.draw_segmentation_masks(image, masks)`",
        "plot_bounding_box_gallery": "call `torchvision.utils.make_grid(images)` and imshow",
        "plot_image_gallery": "call `torchvision.utils.make_grid(images)` and imshow",
        "plot_segmentation_mask_gallery": "call `torchvision.utils.make_grid(images)` and imshow",
    },
    "wrappers": {
        "SKLearnClassifier": "wrap the model by `skorch.NeuralNetClassifier(model)`",
        "SKLearnRegressor": "wrap the model by `skorch.NeuralNetRegressor(model)`",
        "SKLearnTransformer": "wrap the model by `skorch.NeuralNet(model, criterion)`",
    },
}
