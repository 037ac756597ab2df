"""What to write instead of the functions of `keras.ops` that `fgraph.ops` does not have."""

INSTEAD = {
    "custom_gradient": "write a torch.autograd.Function, called by "
    "`fgraph.apply(Function.apply, x)`",
}

_IMAGES = {
    "affine_transform": "F.grid_sample(x, F.affine_grid(theta, size)), channels first",
    "crop_images": "x[:, top:bottom, left:right]",
    "elastic_transform": "torchvision.transforms.v2.functional.elastic(x, displacement)",
    "extract_patches": "F.unfold(x, patch_size, stride=strides), channels first",
    "extract_patches_3d": "x.unfold(dim, size, step) along each axis",
    "gaussian_blur": "torchvision.transforms.v2.functional.gaussian_blur(x, kernel_size)",
    "hsv_to_rgb": "skimage.color.hsv2rgb on arrays, where the data is loaded",
    "map_coordinates": "F.grid_sample(x, grid), channels first",
    "pad_images": "layers.ZeroPadding2D(padding)(x)",
    "perspective_transform": "torchvision.transforms.v2.functional.perspective(x, start, end)",
    "resize": "layers.Resizing(height, width)(x)",
    "rgb_to_grayscale": "torchvision.transforms.v2.functional.rgb_to_grayscale(x)",
    "rgb_to_hsv": "skimage.color.rgb2hsv on arrays, where the data is loaded",
    "scale_and_translate": "F.grid_sample(x, F.affine_grid(theta, size)), channels first",
    "sobel_edges": "F.conv2d(x, kernel) with Sobel's kernel, channels first",
    "ssim": "torchmetrics.functional.image.structural_similarity_index_measure(x, y)",
}

IMAGE = {name: f"write {text}" for name, text in _IMAGES.items()}
