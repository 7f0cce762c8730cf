"""Thirteen modules as people write them, by what they are made of."""

import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.down, self.inner, self.short = nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, 1, 1), nn.Conv2d(8, 12, 1, 2)
        self.pool, self.out = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.inner(F.relu(self.down(x))) + self.short(x))
        return self.out(torch.flatten(self.pool(x), 1))


class Normalised(nn.Module):
    """Images are scaled inside, then a VGG of small size with dropout."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45])[:, None, None])
        self.register_buffer("std", torch.tensor([0.25, 0.24, 0.26])[:, None, None])
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(32, 16), nn.ReLU(inplace=True), nn.Linear(16, 5))

    def forward(self, x):
        x = self.features((x - self.mean) / self.std)
        return self.classifier(x.view(x.size(0), -1))


class Dense(nn.Module):
    """Layers that read all earlier ones."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(7, 4, 3, 1, 1), nn.Conv2d(11, 5, 1)

    def forward(self, x):
        for layer in (self.first, self.second):
            x = torch.cat([x, F.relu(layer(x))], dim=1)
        return self.third(x).mean(dim=(2, 3))


class Hourglass(nn.Module):
    """Down and up again, with a way around."""

    def __init__(self):
        super().__init__()
        self.enter, self.down, self.up = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)
        self.out = nn.Linear(8 * 64, 5)

    def forward(self, x):
        x = F.leaky_relu(self.enter(x), 0.1)
        low = F.relu(self.down(x))
        wide = F.interpolate(low[:, :4], scale_factor=2.0, mode="nearest")
        return self.out(torch.cat([x + wide, torch.relu(self.up(low))], 1).flatten(1))


class Mixer(nn.Module):
    """Patches whose positions and channels are mixed in turn."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.positions, self.channels, self.out = nn.Linear(4, 4), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + F.relu(self.positions(x.transpose(1, 2))).transpose(1, 2)
        x = x + F.relu(self.channels(x))
        return self.out(x.mean(1))


class Attention(nn.Module):
    """Patches that look at each other."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.query, self.key, self.value, self.out = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        weights = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) / 2, dim=-1)
        return self.out((x + weights @ self.value(x)).mean(1))


class Maxout(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(192, 16), nn.Linear(8, 5)

    def forward(self, x):
        a, b = self.inner(torch.flatten(x, 1)).chunk(2, dim=1)
        return self.out(torch.maximum(a, b))


class Signal(nn.Module):
    """Rows as channels of a signal."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(24, 8, 3, padding=1), nn.Conv1d(8, 6, 3, stride=2)
        self.act, self.pool, self.out = nn.PReLU(8), nn.MaxPool1d(3), nn.Linear(6, 5)

    def forward(self, x):
        x = self.act(self.first(x.reshape(x.shape[0], 24, 8)))
        return self.out(self.pool(torch.tanh(self.second(x))).squeeze(-1))


class Dueling(nn.Module):
    """Values and advantages of a Q network."""

    def __init__(self):
        super().__init__()
        self.body, self.value, self.advantage = nn.Linear(192, 20), nn.Linear(20, 1), nn.Linear(20, 5)

    def forward(self, x):
        x = F.relu(self.body(x.flatten(start_dim=1)))
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(dim=1, keepdim=True)


class Shuffle(nn.Module):
    """Subpixels, padding by hand, and a clamp at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(2, 2, 3), nn.Linear(72, 5)

    def forward(self, x):
        x = F.pixel_shuffle(F.relu(self.first(F.pad(x, (1, 0, 1, 0)))), 2)
        x = torch.clamp(self.second(x), 0.0, 2.0).abs()
        return self.out(x.flatten(1))


def everyday():
    """Name and module, in evaluation mode with numbers that make every part matter; they read [N, 3, 8, 8], give [N, 5]."""
    torch.manual_seed(3)
    modules = {
        "perceptron": nn.Sequential(nn.Flatten(), nn.Linear(192, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 5)),
        "smooth perceptron": nn.Sequential(
            nn.Flatten(), nn.Linear(192, 12), nn.Sigmoid(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 8), nn.Hardtanh(),
            nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 8), nn.Softplus(beta=2.0), nn.Linear(8, 5),
        ),
        "separable": nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.ReLU6(), nn.Conv2d(6, 6, 3, 2, 1, groups=6), nn.BatchNorm2d(6), nn.ReLU6(),
            nn.Conv2d(6, 8, 1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
        ),
        "residual": Residual(),
        "normalised": Normalised(),
        "dense": Dense(),
        "hourglass": Hourglass(),
        "mixer": Mixer(),
        "attention": Attention(),
        "maxout": Maxout(),
        "signal": Signal(),
        "dueling": Dueling(),
        "shuffle": Shuffle(),
    }  # fmt: skip
    for module in modules.values():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.5, 2)
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.normal_(part.bias)
        module.eval()
    return modules
