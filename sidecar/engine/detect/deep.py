"""A small autoencoder of windows: what it cannot draw again from four numbers is unusual.

Trained with torch (the extra `deep`), in a worker; what is kept are plain arrays, so that judging
needs numpy alone and a saved model runs where torch is not installed. Source: Sakurada, Yairi
(2014), Anomaly detection using autoencoders with nonlinear dimensionality reduction.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from sidecar.engine.detect.trained import Fitted, need
from sidecar.errors import ModelError
from sidecar.series import FloatArray

HIDDEN, CODE = 16, 4
EPOCHS, BATCH, RATE = 60, 128, 3e-3
NEWEST = 5
"""What the newest samples are off by counts as much as all the others: the point is in question."""

HELD_OUT = 0.2


class AutoencoderModel:
    """The model of the detector `autoencoder`."""

    measures = ("error_held_out", "error_learnt")

    @property
    def trainable(self) -> bool:
        """Whether torch is here to fit with."""
        return find_spec("torch") is not None

    def fit(self, windows: FloatArray, seed: int) -> Fitted:
        """Train; see `WindowModel.fit`. `quality`: mean error on held-out windows, and on those learnt from.

        Raises: ModelError where torch is not installed.
        """
        if not self.trainable:
            raise ModelError("detector 'autoencoder' is trained with torch: pip install 'pronoia[deep]'")
        import torch
        from torch import nn

        width = windows.shape[1]
        generator = torch.Generator().manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CODE),
            nn.Linear(CODE, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, width),
        )  # fmt: skip
        for parameter in net.parameters():
            with torch.no_grad():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        order = np.random.default_rng(seed).permutation(len(windows))
        n_held = int(HELD_OUT * len(windows))
        known = torch.tensor(windows[order[n_held:]], dtype=torch.float32)
        optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
        for _ in range(EPOCHS):
            for part in torch.randperm(len(known), generator=generator).split(BATCH):
                optimiser.zero_grad()
                nn.functional.smooth_l1_loss(net(known[part]), known[part]).backward()
                optimiser.step()
        layers = [layer for layer in net if isinstance(layer, nn.Linear)]
        fitted: Fitted = {
            f"weight{i}": layer.weight.detach().numpy().astype(float) for i, layer in enumerate(layers)
        }
        fitted |= {f"bias{i}": layer.bias.detach().numpy().astype(float) for i, layer in enumerate(layers)}
        held, learnt = windows[order[:n_held]], windows[order[n_held:]]
        errors = [float(self.score(fitted, part).mean()) if len(part) else np.nan for part in (held, learnt)]
        return fitted | {"quality": np.array(errors)}

    def check(self, fitted: Fitted, n_features: int) -> None:
        """Whether the layers fit each other and the windows; see `WindowModel.check`."""
        width = n_features
        for layer, size in enumerate((HIDDEN, CODE, HIDDEN, n_features)):
            need(fitted, **{f"weight{layer}": (2, width), f"bias{layer}": (1, size)})
            width = size

    def score(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        """Mean size of what is left over, the newest samples counting as much as the rest."""
        off = np.abs(windows - self._drawn_again(fitted, windows))
        return np.asarray(0.5 * (off[:, :-NEWEST].mean(axis=1) + off[:, -NEWEST:].mean(axis=1)))

    def _drawn_again(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        found = windows
        for layer, bends in enumerate((True, False, True, False)):
            # Not a matrix product of all windows at once: its last digits depend on how many there are.
            found = np.einsum("nf,kf->nk", found, fitted[f"weight{layer}"]) + fitted[f"bias{layer}"]
            if bends:
                found = np.tanh(found)
        return found
