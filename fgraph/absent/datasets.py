"""Where to find the data sets of `keras.datasets` for torch."""

_ARRAYS = "; `.data` and `.targets` are all images and labels"
_LOAD = {
    "boston_housing": "make `sklearn.datasets.fetch_openml('boston', version=1)`",
    "california_housing": "call `sklearn.datasets.fetch_california_housing(return_X_y=True)`",
    "cifar10": "make `torchvision.datasets.CIFAR10(root, download=True)`" + _ARRAYS,
    "cifar100": "make `torchvision.datasets.CIFAR100(root, download=True)`" + _ARRAYS,
    "fashion_mnist": "make `torchvision.datasets.FashionMNIST(root, download=True)`" + _ARRAYS,
    "imdb": "call `datasets.load_dataset('stanfordnlp/imdb')` of Hugging Face",
    "mnist": "make `torchvision.datasets.MNIST(root, download=True)`" + _ARRAYS,
    "reuters": "call `nltk.corpus.reuters`, or read the file with numpy",
}
_WORDS = "make the dictionary of words from the texts: `collections.Counter(words)`"

INSTEAD = {
    name: {"load_data": text, "get_word_index": _WORDS, "get_label_names": text}
    for name, text in _LOAD.items()
}
