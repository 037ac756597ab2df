"""Raw torch modules and functions in a graph, trained by a hand-written loop."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from fgraph import Input, Model


def build() -> Model:
    """Build a small residual network on 8x8 digits, channels first."""
    image = Input((1, 8, 8), name="image")
    h = nn.Conv2d(1, 16, 3, padding="same")(image).relu()
    for _ in range(2):
        inner = F.gelu(nn.BatchNorm2d(16)(nn.Conv2d(16, 16, 3, padding="same")(h)))
        h = h + inner
    h = torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)
    return Model(image, nn.LazyLinear(10)(nn.Dropout(0.1)(h)))


def main() -> None:
    """Train with AdamW, then print the held-out accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32, device=options.device).view(-1, 1, 8, 8) / 16
    y = torch.tensor(labels, device=options.device)
    order = torch.randperm(len(x))
    held, train = order[:360], order[360:]

    net = build().to(options.device)
    print(net.code)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(options.epochs):
        net.train()
        total = torch.zeros((), device=options.device)
        for batch in train[torch.randperm(len(train))].split(64):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        print(f"epoch {epoch + 1}: loss {total.item() / len(train):.4f}")
    net.eval()
    with torch.no_grad():
        accuracy = (net(x[held]).argmax(1) == y[held]).float().mean().item()
    majority = y[held].bincount().max().item() / len(held)
    print(f"held-out accuracy: {accuracy:.1%}, majority rate: {majority:.1%}")


if __name__ == "__main__":
    main()
