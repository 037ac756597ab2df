"""The stand-in finds the mistakes that it is for, and computes what the host computes."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

import other_device
from fgraph import Input, Model, layers
from other_device import DeviceError, OtherTensor, refusing


class FactoryWithoutDevice(nn.Module):
    """Makes a tensor where no device is named."""

    def forward(self, x):
        return x + torch.arange(x.shape[-1])


class UnregisteredBuffer(nn.Module):
    """Holds a tensor that does not move."""

    def __init__(self):
        super().__init__()
        self.offset = torch.ones(4)

    def forward(self, x):
        return x + self.offset


CAPTURED = torch.ones(4)


class CapturedTensor(nn.Module):
    """Uses a tensor of the file."""

    def forward(self, x):
        return x * CAPTURED


class HostGenerator(nn.Module):
    """Draws from a generator of the host."""

    def forward(self, x):
        return x + torch.rand(4, device=x.device, generator=torch.Generator().manual_seed(0))


class HostIndices(nn.Module):
    """Gathers by row numbers on the host."""

    def forward(self, x):
        return x.index_select(1, torch.tensor([0, 1, 2, 3]))


class HostTotal(nn.Module):
    """Adds up on the host."""

    def forward(self, x):
        with torch.no_grad():
            torch.zeros(()).add_(x.sum())
        return x


MISTAKES = [
    FactoryWithoutDevice, UnregisteredBuffer, CapturedTensor, HostGenerator, HostIndices, HostTotal,
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_tensor_on_the_wrong_device_raises(mistake, device):
    x = Input((4,))
    model = Model(x, nn.Linear(4, 2)(mistake()(x)))
    model(torch.rand(3, 4))
    model.to(device)
    with pytest.raises(DeviceError, match=r"device|generator|written"):
        model(torch.rand(3, 4, device=device))


WAITS = {
    "item": lambda x: x.sum().item(),
    "a condition": lambda x: bool(x.sum() > 0),
    "tolist": lambda x: x.tolist(),
    "rows by a mask": lambda x: x[x[:, 0] > 0],
    "nonzero": lambda x: x.nonzero(),
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.ones(3).to(x.device),
    "a tensor of numbers": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_what_makes_the_host_wait_is_counted_and_can_be_refused(wait, device):
    x = torch.ones(3, 4, device=device)
    before = other_device.Refused.waited
    wait(x)
    assert other_device.Refused.waited > before
    with refusing(waits=True), pytest.raises(DeviceError, match="makes the host wait"):
        wait(x)


def test_what_does_not_wait_is_allowed(device):
    x = torch.ones(3, 4, device=device)
    with refusing(waits=True):
        x.to("cpu", non_blocking=True)
        torch.ones(3).to(device, non_blocking=True)
        (x * 2 + torch.tensor(1.0)).sum().add_(1)
        (
            torch.zeros(3, device=device)
            + torch.arange(3, device=device)
            + torch.rand(3, device=device)
        )


def test_a_copy_to_the_host_arrives_when_the_host_waits(device):
    x = torch.ones(3, device=device)
    found, given = x.to("cpu", non_blocking=True), torch.zeros(3)
    given.copy_(x, non_blocking=True)
    assert found.isnan().all()
    assert given.isnan().all()
    x.sum().item()
    assert found.tolist() == given.tolist() == [1.0, 1.0, 1.0]


def test_float64_can_be_refused(device):
    x = torch.ones(3, device=device)
    with refusing(double=True):
        x.sum()
        with pytest.raises(DeviceError, match="float64"):
            x.double()
        with pytest.raises(DeviceError, match="float64"):
            torch.ones(3, device=device, dtype=torch.float64)


MODULES = {
    "linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "convolution": (lambda: nn.Conv2d(4, 3, 3), (2, 4, 6, 6)),
    "batch norm": (lambda: nn.BatchNorm1d(4), (5, 4)),
    "lstm": (lambda: nn.LSTM(4, 3, batch_first=True), (2, 5, 4)),
    "gru": (lambda: nn.GRU(4, 3, batch_first=True), (2, 5, 4)),
    "lstm cell": (lambda: nn.LSTMCell(4, 3), (5, 4)),
    "gru cell": (lambda: nn.GRUCell(4, 3), (5, 4)),
    "transformer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), (2, 5, 4)),
}


@pytest.mark.parametrize(("make", "shape"), MODULES.values(), ids=MODULES.keys())
def test_steps_equal_those_of_the_host(make, shape, device):
    module = make()
    twin = copy.deepcopy(module).to(device)
    x = torch.randn(shape)
    for net, value in ((module, x), (twin, x.to(device))):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            result = net(value)
            (result[0] if isinstance(result, tuple) else result)[..., 0].exp().mean().backward()
            optimizer.step()
    for name, tensor in module.state_dict().items():
        found = twin.state_dict()[name]
        assert found.device.type == device.type
        torch.testing.assert_close(found.cpu(), tensor)


def test_a_module_keeps_its_parameters_when_it_moves(device):
    module = nn.Linear(4, 3)
    weight = module.weight
    assert module.to(device).weight is weight
    assert isinstance(weight, OtherTensor)
    assert module.cpu().weight is weight
    assert type(weight) is nn.Parameter


def test_autocast_takes_the_precisions_of_cuda(device):
    linear, x = nn.Linear(4, 3, device=device), torch.rand(2, 4, device=device)
    with torch.autocast(device.type, torch.float16):
        assert linear(x).dtype == torch.float16
        assert linear(x).softmax(-1).dtype == torch.float32
        with pytest.raises(DeviceError, match="unsafe to autocast"):
            nn.functional.binary_cross_entropy(linear(x).sigmoid(), torch.ones_like(linear(x)))


def test_two_devices_of_one_kind_are_two(device):
    a, b = torch.ones(2, device="other:0"), torch.ones(2, device="other:1")
    with pytest.raises(DeviceError, match="other:0, other:1"):
        a + b
    assert (a + b.to(a.device)).tolist() == [2.0, 2.0]


def test_numpy_is_refused_and_files_keep_the_device(device):
    x = torch.arange(3.0, device=device)
    with pytest.raises(TypeError, match="can't convert other:0 device type tensor to numpy"):
        x.numpy()
    file = io.BytesIO()
    torch.save({"x": x}, file)
    for where, expected in ((None, "other"), ("cpu", "cpu")):
        file.seek(0)
        found = torch.load(file, map_location=where)["x"]
        assert found.device.type == expected
        assert found.tolist() == [0.0, 1.0, 2.0]


def test_generators_of_the_device(device):
    generator = torch.Generator(device).manual_seed(3)
    assert isinstance(generator, torch.Generator)
    assert generator.device.type == device.type
    found = torch.rand(2, device=device, generator=generator)
    assert found.tolist() == torch.rand(2, generator=torch.Generator().manual_seed(3)).tolist()


def test_in_place_and_views_share_memory(device):
    x = torch.zeros(4, device=device, requires_grad=True)
    y = x * 1
    y.view(2, 2)[0].mul_(3)
    y.t_() if y.dim() == 2 else y.unsqueeze_(0)
    y.sum().backward()
    assert y.shape == (1, 4)
    assert x.grad.tolist() == [3.0, 3.0, 1.0, 1.0]


def test_a_layer_of_the_catalogue_is_no_mistake(device):
    x = Input((4,))
    model = Model(x, layers.Dense(2)(x)).to(device)
    assert model(torch.rand(3, 4, device=device)).device == device
