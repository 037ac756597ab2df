"""What a user of both kinds writes; read by type checkers, never run."""

from typing import Any, assert_type

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fgraph
from fgraph import Input, Model, SymbolicTensor, layers

# a graph of layers, operators and functions of torch
x = Input((28, 28, 1))
assert_type(x, SymbolicTensor)
y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
assert_type(y, SymbolicTensor)
assert_type(y + 1, SymbolicTensor)
assert_type(1 - y, SymbolicTensor)
assert_type(-y @ y, SymbolicTensor)
assert_type(y[:, 0], SymbolicTensor)
assert_type(y > 0, SymbolicTensor)
assert_type(y == 0, SymbolicTensor)
y += x
assert_type(y, SymbolicTensor)
assert_type(layers.add([y, x]), SymbolicTensor)
joined = torch.cat([F.relu(y), y.flatten(1)])
left, right = layers.LSTM(4, return_sequences=True, return_state=False, name="encoder")(y), y
out = layers.Dense(10)(joined)
hidden = nn.Linear(10, 3)(out)

# a model on symbols and on tensors
model = Model(x, out, name="digits")
assert_type(model(x), SymbolicTensor)
assert_type(model(torch.zeros(2, 28, 28, 1)), Tensor)
assert_type(model(torch.zeros(2, 28, 28, 1), training=False), Tensor)
stack = fgraph.Sequential([Input((3,)), layers.Dense(4), nn.ReLU()])
assert_type(stack(torch.zeros(2, 3)), Tensor)
several = Model([x, y], {"one": out, "two": hidden})
several([torch.zeros(2, 28, 28, 1), torch.zeros(2, 28, 28, 1)])["one"]
first, second = several([x, y])

# a model as any other module
optimizer = torch.optim.Adam(model.parameters())
loss = F.cross_entropy(model(torch.zeros(2, 28, 28, 1)), torch.zeros(2, dtype=torch.int64))
model.compile("adam", "mse", metrics=["mae"])
model.fit(torch.zeros(2, 28, 28, 1), torch.zeros(2, 10), epochs=2)


# a layer and a model of one's own
class Scaled(layers.Layer):
    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.inner = layers.Dense(units)

    def call(self, inputs: SymbolicTensor) -> SymbolicTensor:
        return self.inner(inputs) * 2


class Classifier(Model):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, features: Tensor) -> Tensor:
        return torch.softmax(self.head(features), dim=-1)


assert_type(Scaled(3)(x), SymbolicTensor)

# mistakes
layers.Conv2D(8, 3, paddding="same")  # error: call-arg
layers.LSTM(4, return_sequence=True)  # error: call-arg
layers.Conv2D()  # error: call-arg
layers.Conv2d(8, 3)  # error: attr-defined
layers.Dense(3, naem="head")  # error: call-arg
Input((3,), dtyp="int64")  # error: call-overload
torch.cat(model)  # error: arg-type
