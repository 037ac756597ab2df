"""Spectrograms of sound: `STFTSpectrogram` and `MelSpectrogram`."""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from ..initializers import STFT, window_values
from .arguments import LayerOptions, integer, one_of
from .base import Layer
from .data_format import is_channels_last, pad_same
from .input_checks import Expects
from .weight_layout import KERNEL, Weight

_FLOOR = 1e-7  # Keras's epsilon
_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


class STFTSpectrogram(Layer):
    """Compute short-time Fourier transforms by convolutions whose kernels can be trained.

    Equivalent to Keras's `STFTSpectrogram`; the modules are `nn.Conv1d`s.

    Args:
        mode: What to return of the transform: `"log"` of the magnitude, `"magnitude"`, `"psd"`, the
            power spectral density, `"real"`, `"imag"`, `"angle"`, or `"stft"`, real and imaginary
            parts as channels.
        frame_length: Number of samples in a window.
        frame_step: Step of the window. Defaults to half its length.
        fft_length: Length of the transform. Defaults to the next power of 2.
        window: `"hann"`, `"hamming"`, the values of a window, or `None` for none.
        periodic: Whether the window is one for a periodic signal.
        scaling: `"density"`, `"spectrum"` or `None`: what the window is divided by.
        padding: `"valid"`, none, or `"same"`: the output has `ceil(steps / frame_step)` steps.
        expand_dims: Whether frequencies are an axis of their own.
        data_format: `"channels_last"`, the default, or `"channels_first"`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, samples, channels)`, floating-point.

    Output shape: `(batch, steps, channels * frequencies)`, or `(batch, steps, frequencies,
    channels)` with `expand_dims`; there are `fft_length // 2 + 1` frequencies.

    Differs from Keras: windows by name are `hann` and `hamming`; give others by their values.

    Raises:
        ValueError: A number or a name is not allowed.

    Example:
        >>> x = Input((16000, 1))
        >>> layers.STFTSpectrogram(frame_length=256, frame_step=128)(x).shape
        (None, 124, 129)
    """

    def __init__(
        self,
        mode: str = "log",
        frame_length: int = 256,
        frame_step: int | None = None,
        fft_length: int | None = None,
        window: Any = "hann",
        periodic: bool = False,
        scaling: str | None = "density",
        padding: str = "valid",
        expand_dims: bool = False,
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        kind = "STFTSpectrogram"
        self.mode = one_of(kind, "mode", mode, _MODES)
        initializers = {part: STFT(part, window, scaling, periodic) for part in ("real", "imag")}
        parts = [self.mode] if self.mode in ("real", "imag") else ["real", "imag"]
        self.keras_weights = tuple(
            Weight(f"{part}_kernel", (f"{part}.weight",), KERNEL) for part in parts
        )
        super().__init__(**options)
        self._set_weight_options(
            {f"{part}_kernel_initializer": initializers[part] for part in parts}
        )
        self._parts = parts
        self.frame_length = integer(kind, "frame_length", frame_length, least=2)
        step = self.frame_length // 2 if frame_step is None else frame_step
        self.frame_step = integer(kind, "frame_step", step)
        power = 2 ** math.ceil(math.log2(self.frame_length))
        self.fft_length = integer(kind, "fft_length", fft_length or power, least=self.frame_length)
        if self.frame_step > self.frame_length:
            raise ValueError(
                f"{kind}: frame_step={self.frame_step} is larger than frame_length={frame_length}"
            )
        window_values(window, self.frame_length)
        self.window = window
        self.padding = one_of(kind, "padding", padding, ("valid", "same"))
        self.expand_dims = expand_dims
        self.channels_last = is_channels_last(kind, data_format)
        axes = ("samples", "channels") if self.channels_last else ("channels", "samples")
        self.expects = Expects(("batch", *axes), "floating", -1 if self.channels_last else 1)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the convolutions."""
        bins, size, step = self.fft_length // 2 + 1, self.frame_length, self.frame_step
        convolutions = {part: nn.Conv1d(1, bins, size, step, bias=False) for part in self._parts}
        return nn.ModuleDict(convolutions)

    def call(self, inputs: Any) -> Any:
        """Record the convolutions and what is made of them."""
        first = inputs.mT if self.channels_last else inputs
        channels = first.spec.shape[1]
        x = first.flatten(0, 1).unsqueeze(1)
        if self.padding == "same":
            x = pad_same(x, (self.frame_length,), (self.frame_step,), (1,))
        made = [module(x).unflatten(0, (-1, channels)) for module in self._module.values()]
        if self.mode in ("real", "imag"):
            return self._arranged(made[0])
        real, imaginary = made
        if self.mode == "angle":
            return self._arranged(torch.atan2(imaginary, real))
        if self.mode == "stft":
            return self._arranged(torch.cat([real, imaginary], dim=2))
        power = real.square() + imaginary.square()
        if self.mode == "psd":  # what is not shown, the negative frequencies, counts as well
            inner = nn.functional.pad(power[:, :, 1:-1], (0, 0, 1, 1))
            return self._arranged(power + inner)
        magnitude = self._arranged(power.clamp(min=_FLOOR).sqrt())
        return magnitude if self.mode == "magnitude" else magnitude.clamp(min=_FLOOR).log()

    def _arranged(self, x: Any) -> Any:
        """Return `(batch, channels, frequencies, steps)` in the order of the output."""
        if self.expand_dims:
            return x.permute(0, 3, 2, 1) if self.channels_last else x.mT
        flat = x.flatten(1, 2)
        return flat.mT if self.channels_last else flat


class MelSpectrogram(Layer):
    """Compute spectrograms whose frequencies are spaced as pitch is heard.

    Equivalent to Keras's `MelSpectrogram`; the function is `torch.stft`.

    Args:
        fft_length: Length of the Fourier transform.
        sequence_stride: Step of the window.
        sequence_length: Number of samples in a window. Defaults to `fft_length`.
        window: `"hann"`, `"hamming"`, the values of a window, or `None` for none.
        sampling_rate: Samples in a second.
        num_mel_bins: Number of bands.
        min_freq: Lowest frequency, in hertz.
        max_freq: Highest frequency, in hertz. Defaults to half the sampling rate.
        power_to_db: Whether to return decibels.
        top_db: How many decibels below the largest value the others are cut off.
        mag_exp: Power of the magnitude: 1 for energy, 2 for power.
        min_power: Smallest power that is told from others.
        ref_power: Power that is 0 decibels.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, samples)`, floating-point.

    Output shape: `(batch, num_mel_bins, steps)`.

    Raises:
        ValueError: A number is not positive, or the window is longer than the transform.

    Example:
        >>> x = Input((16000,))
        >>> layers.MelSpectrogram(num_mel_bins=64)(x).shape
        (None, 64, 32)
    """

    expects = Expects(("batch", "samples"), "floating")

    def __init__(
        self,
        fft_length: int = 2048,
        sequence_stride: int = 512,
        sequence_length: int | None = None,
        window: Any = "hann",
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        power_to_db: bool = True,
        top_db: float = 80.0,
        mag_exp: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        kind = "MelSpectrogram"
        self.fft_length = integer(kind, "fft_length", fft_length)
        self.sequence_stride = integer(kind, "sequence_stride", sequence_stride)
        self.sequence_length = integer(kind, "sequence_length", sequence_length or fft_length)
        if self.sequence_length > self.fft_length:
            raise ValueError(
                f"{kind}: sequence_length={sequence_length} is longer than fft_length={fft_length}"
            )
        window_values(window, self.sequence_length)
        self.window = window
        self.sampling_rate = sampling_rate
        self.num_mel_bins = integer(kind, "num_mel_bins", num_mel_bins)
        self.min_freq = min_freq
        self.max_freq = max_freq or sampling_rate // 2
        self.power_to_db = power_to_db
        self.top_db = top_db
        self.mag_exp = mag_exp
        self.min_power = min_power
        self.ref_power = ref_power

    def call(self, inputs: Any) -> Any:
        """Record the transform, the bands and the logarithm."""
        spectrum = torch.stft(
            inputs,
            self.fft_length,
            self.sequence_stride,
            self.sequence_length,
            window_values(self.window, self.sequence_length, inputs.dtype),
            return_complex=True,
        )
        power = spectrum.abs() ** self.mag_exp
        bands = mel_bands(
            self.num_mel_bins, self.fft_length // 2 + 1, self.sampling_rate, self.min_freq,
            self.max_freq,
        )  # fmt: skip
        mel = bands.to(inputs.dtype) @ power
        if not self.power_to_db:
            return mel
        reference = 10 * math.log10(max(abs(self.ref_power), self.min_power))
        decibels = 10 * mel.clamp(min=self.min_power).log10() - reference
        return torch.maximum(decibels, decibels.max() - self.top_db)


def mel_bands(
    count: int, frequencies: int, sampling_rate: float, lowest: float, highest: float
) -> Tensor:
    """Return the weights of frequencies in triangular bands, equally spaced in mel.

    The scale is `2595 * log10(1 + f / 700)`, that of the Hidden Markov Model Toolkit, which leaves
    out frequency 0.

    Args:
        count: The number of bands.
        frequencies: The number of frequencies from 0 to half the sampling rate.
        sampling_rate: Samples in a second.
        lowest, highest: Where the bands begin and end, in hertz.

    Returns:
        Weights, `(count, frequencies)`, each band with a peak of 1.
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log(1.0 + hertz / 700.0)

    steps = mel(torch.linspace(0.0, sampling_rate / 2, frequencies))
    ends = mel(torch.tensor([lowest, highest])).tolist()
    edges = torch.linspace(ends[0], ends[1], count + 2)[:, None]
    low, center, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (steps - low) / (center - low), (high - steps) / (high - center)
    made = torch.minimum(rising, falling).clamp(min=0.0)
    made[:, 0] = 0.0
    return made
