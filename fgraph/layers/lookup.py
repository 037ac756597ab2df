"""Integers to indices: `IntegerLookup` by a vocabulary, `Hashing` by hash bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import nn

from ..errors import BuildError
from .arguments import LayerOptions, integer, one_of
from .modules.hashing import HashBins
from .modules.lookup import IndexTable
from .preprocessing import _Encoding, _refuse_sparse


def _refuse_salt(owner: str, salt: Any) -> None:
    if salt is not None:
        raise ValueError(
            f"{owner}: salt={salt!r} is not supported: numbers are hashed without a key, salt=None"
        )


class Hashing(_Encoding):
    """Map integers to bins by a hash.

    Equivalent to Keras's `Hashing`, for integers: the hash is FarmHash of the number written in
    decimal digits.

    Args:
        num_bins: Number of bins.
        mask_value: Number for padding, the only one in bin 0. Defaults to none.
        salt: Accepted for compatibility with Keras; must be `None`.
        output_mode: `"int"`, the bin; `"one_hot"`, `"multi_hot"` or `"count"`, as for
            `CategoryEncoding`.
        sparse: Accepted for compatibility with Keras; must be false: the output is dense.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`; floating-point numbers are truncated.

    Output shape: that of the input for `"int"`, else as for `CategoryEncoding`.

    Differs from Keras: no strings, no `sparse`, no `salt`.

    Raises:
        ValueError: The number of bins is not positive, or a setting is not supported.

    Example:
        >>> x = Input((3,), dtype="int64")
        >>> layers.Hashing(num_bins=8)(x).shape
        (None, 3)
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: int | None = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        _refuse_sparse("Hashing", sparse)
        _refuse_salt("Hashing", salt)
        self.num_bins = integer("Hashing", "num_bins", num_bins)
        self.mask_value = mask_value
        known = ("int", "one_hot", "multi_hot", "count")
        self.output_mode = one_of("Hashing", "output_mode", output_mode, known)
        self.input_dtype = torch.int64

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module, which has no weights."""
        return HashBins(self.num_bins, self.mask_value)

    def call(self, inputs: Any) -> Any:
        """Record the fingerprints, and the encoding."""
        found = self._module(inputs)
        return found if self.output_mode == "int" else self.encode(found, self.num_bins)


class IntegerLookup(_Encoding):
    """Map the integers of a vocabulary to consecutive indices, or back.

    Equivalent to Keras's `IntegerLookup`; the module holds the sorted vocabulary, and searches it
    with `torch.searchsorted`.

    Args:
        max_tokens: Largest size of the vocabulary, special tokens included. Defaults to no limit.
        num_oov_indices: Number of indices for numbers that are not in the vocabulary.
        mask_token: Number that gets index 0, for padding. Defaults to none.
        oov_token: Value of unknown indices with `invert`.
        vocabulary: The numbers, in the order of their indices. Defaults to what `adapt` finds.
        vocabulary_dtype: Accepted for compatibility with Keras; must be `"int64"`.
        idf_weights: Weights of the numbers for `"tf_idf"`.
        invert: Whether to turn indices into numbers.
        output_mode: `"int"`, the index; `"one_hot"`, `"multi_hot"` or `"count"`, as for
            `CategoryEncoding`; `"tf_idf"`, counts times weights.
        sparse: Accepted for compatibility with Keras; must be false: the output is dense.
        pad_to_max_tokens: Whether the output has `max_tokens` columns, whatever the vocabulary.
        oov_method: How the index of an unknown number is chosen: `"floormod"`, by its remainder, or
            `"farmhash"`, by the remainder of its hash.
        salt: Accepted for compatibility with Keras; must be `None`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, integers.

    Output shape: that of the input for `"int"`, else as for `CategoryEncoding`.

    Differs from Keras: no `sparse`, no `salt`; `adapt` takes arrays and tensors.

    Raises:
        ValueError: An argument does not fit the others, or a number is repeated.
        BuildError: There is no vocabulary yet.

    Example:
        >>> x = Input((3,), dtype="int64")
        >>> model = Model(x, layers.IntegerLookup(vocabulary=[12, 36, 1138, 42])(x))
        >>> model(torch.tensor([[12, 1138, 42], [42, 7, 36]]))
        tensor([[1, 3, 4],
                [4, 0, 2]])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        kind = "IntegerLookup"
        _refuse_sparse(kind, sparse)
        self.oov_method = one_of(kind, "oov_method", oov_method, ("floormod", "farmhash"))
        _refuse_salt(kind, salt)
        if vocabulary_dtype != "int64":
            raise ValueError(f"{kind}: vocabulary_dtype= expects 'int64', got {vocabulary_dtype!r}")
        self.max_tokens = None if max_tokens is None else integer(kind, "max_tokens", max_tokens, 2)
        self.num_oov_indices = integer(kind, "num_oov_indices", num_oov_indices, 0)
        self.mask_token = mask_token
        self.oov_token = oov_token
        self.invert = invert
        known = ("int", "one_hot", "multi_hot", "count", "tf_idf")
        self.output_mode = one_of(kind, "output_mode", output_mode, known)
        if invert and self.output_mode != "int":
            raise ValueError(f"{kind}: invert=True goes with output_mode='int'")
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError(f"{kind}: pad_to_max_tokens=True needs max_tokens=")
        if (idf_weights is not None) and self.output_mode != "tf_idf":
            raise ValueError(f"{kind}: idf_weights= goes with output_mode='tf_idf'")
        self.pad_to_max_tokens = pad_to_max_tokens
        self.tokens: list[int] | None = None
        self.idf: list[float] | None = None
        self.input_dtype = torch.int64
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    @property
    def _special(self) -> int:
        """The number of indices before the first number of the vocabulary."""
        masked = self.mask_token is not None and self.output_mode == "int"
        return int(masked) + self.num_oov_indices

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Set the vocabulary, before the layer is called.

        Args:
            vocabulary: The numbers, in the order of their indices; the special tokens may stand in
                front of them.
            idf_weights: A weight for each number, for `"tf_idf"`.

        Raises:
            ValueError: A number is repeated or reserved, there are too many, or weights miss.
        """
        if self.built:
            raise ValueError("IntegerLookup: set the vocabulary before the layer is called")
        tokens = [int(token) for token in np.asarray(vocabulary).ravel()]
        masks = self._special - self.num_oov_indices
        front = [self.mask_token] * masks + [self.oov_token] * self.num_oov_indices
        found = bool(front) and tokens[: len(front)] == front
        own = tokens[len(front) :] if found else tokens
        if len(set(own)) != len(own) or not own:
            raise ValueError("IntegerLookup: the vocabulary is empty, or has a number twice")
        reserved = {self.mask_token, self.oov_token if self.invert else None} & set(own)
        if reserved:
            raise ValueError(
                f"IntegerLookup: {reserved} are reserved for special tokens, "
                f"which stand in front of the others, {front}, or not at all"
            )
        if self.max_tokens is not None and self._special + len(own) > self.max_tokens:
            raise ValueError(
                f"IntegerLookup: {self._special + len(own)} tokens are more than max_tokens="
                f"{self.max_tokens}"
            )
        if (idf_weights is None) is (self.output_mode == "tf_idf"):
            raise ValueError("IntegerLookup: idf_weights= goes with output_mode='tf_idf'")
        self.tokens = own
        if idf_weights is not None:
            weights = [float(weight) for weight in np.asarray(idf_weights).ravel()]
            if len(weights) != len(tokens):
                raise ValueError(
                    f"IntegerLookup: {len(weights)} idf_weights for {len(tokens)} numbers"
                )
            self.idf = weights if found else [float(np.mean(weights))] * len(front) + weights

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[int]:
        """Return the numbers in the order of their indices.

        Args:
            include_special_tokens: Whether to begin with those for padding and unknown numbers.
        """
        masks = self._special - self.num_oov_indices
        front = [self.mask_token] * masks + [self.oov_token] * self.num_oov_indices
        kept = [int(token) for token in front if token is not None]
        return (kept if include_special_tokens else []) + (self.tokens or [])

    def vocabulary_size(self) -> int:
        """Return the number of indices, special tokens included."""
        return self._special + len(self.tokens or [])

    def adapt(self, data: Any) -> None:
        """Make the vocabulary from data, the most frequent numbers first.

        Args:
            data: Array or tensor of integers; for `"tf_idf"` each row is a document.
        """
        values = np.asarray(data)
        rows = values.reshape(len(values), -1)
        kept = rows[rows != self.mask_token] if self.mask_token is not None else rows.ravel()
        tokens, counts = np.unique(kept, return_counts=True)
        order = np.lexsort((-tokens, -counts))  # ties: the larger number first
        if self.max_tokens is not None:
            order = order[: self.max_tokens - self._special]
        chosen = tokens[order]
        weights = None
        if self.output_mode == "tf_idf":
            documents = np.array([(rows == token).any(1).sum() for token in chosen])
            weights = np.log(1 + len(rows) / (1 + documents))
        self.set_vocabulary(chosen, weights)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module that holds the vocabulary."""
        if self.tokens is None:
            raise BuildError(
                "IntegerLookup has no vocabulary: give vocabulary=, or call adapt(data) first"
            )
        return IndexTable(
            self.tokens, self._special, self.num_oov_indices, self.mask_token, self.oov_token,
            self.invert, self.output_mode == "int", self.oov_method == "farmhash",
        )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        """Record the look-up, and the encoding."""
        found = self._module(inputs)
        if self.output_mode == "int":
            return found
        size = self.vocabulary_size()
        depth = self.max_tokens if self.pad_to_max_tokens and self.max_tokens else size
        made = self.encode(found, depth + 1)[..., :depth]  # the last column is of masked numbers
        if self.idf is None:
            return made
        weights: Sequence[float] = [*self.idf, *[0.0] * (depth - len(self.idf))]
        return made * torch.tensor(weights)
