"""Every detector and forecaster by name; a new one is its file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.bocpd import BocpdDetector
from sidecar.engine.detect.clusters import DensityModel, KMeansModel, MixtureModel, SpectralModel
from sidecar.engine.detect.council import CouncilDetector
from sidecar.engine.detect.cusum import CusumDetector
from sidecar.engine.detect.deep import AutoencoderModel
from sidecar.engine.detect.discord import DiscordDetector
from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.detect.ensemble_loop import UNITS
from sidecar.engine.detect.esd import EsdDetector
from sidecar.engine.detect.forest import ForestModel
from sidecar.engine.detect.hampel import HampelDetector
from sidecar.engine.detect.multivariate import MultivariateDetector
from sidecar.engine.detect.quantile import QuantileDetector
from sidecar.engine.detect.seasonal import SeasonalDetector
from sidecar.engine.detect.siblings import SiblingsDetector
from sidecar.engine.detect.smoothing import SmoothingDetector
from sidecar.engine.detect.spectral import SpectralDetector
from sidecar.engine.detect.trained import TrainedDetector, WindowModel
from sidecar.engine.detect.windows import Samples
from sidecar.engine.forecast.seasonal import SeasonalForecaster
from sidecar.engine.forecast.spans import SpanForecaster
from sidecar.engine.protocols import Detector, Forecaster
from sidecar.errors import ModelError

TRAINED: Mapping[str, Callable[[], WindowModel]] = {
    "isolation_forest": ForestModel,
    "kmeans": KMeansModel,
    "gaussian_mixture": MixtureModel,
    "dbscan": DensityModel,
    "spectral_clusters": SpectralModel,
}
"""Models of a window's features, each a detector."""


def _trained(name: str) -> Callable[[QueryConfig], Detector]:
    return lambda query: TrainedDetector(TRAINED[name](), query.false_alarms, query.step)


def _council(query: QueryConfig) -> Detector:
    members: dict[str, Detector] = {name: make_detector(name, query) for name in query.council}
    return CouncilDetector(members, query.false_alarms, query.step)


DETECTORS: Mapping[str, Callable[[QueryConfig], Detector]] = {
    "ensemble": lambda query: EnsembleDetector(query.false_alarms, query.step),
    "point": lambda query: EnsembleDetector(query.false_alarms, query.step, (UNITS[0], *[inf] * 5)),
    "windows": lambda query: EnsembleDetector(
        query.false_alarms, query.step, (inf, UNITS[1], UNITS[2], inf, inf, inf)
    ),
    "slow": lambda query: EnsembleDetector(
        query.false_alarms, query.step, (inf, inf, inf, UNITS[3], inf, inf)
    ),
    "shape": lambda query: EnsembleDetector(query.false_alarms, query.step, (*[inf] * 4, *UNITS[4:])),
    "seasonal": lambda query: SeasonalDetector(query.false_alarms, query.step),
    "smoothing": lambda query: SmoothingDetector(query.false_alarms, query.step),
    "hampel": lambda query: HampelDetector(query.false_alarms, query.step),
    "esd": lambda query: EsdDetector(query.false_alarms, query.step),
    "quantile": lambda query: QuantileDetector(query.false_alarms, query.step),
    "cusum": lambda query: CusumDetector(query.false_alarms, query.step),
    "bocpd": lambda query: BocpdDetector(query.false_alarms, query.step),
    "spectral_residual": lambda query: SpectralDetector(query.false_alarms, query.step),
    "siblings": lambda query: SiblingsDetector(query.false_alarms, query.step),
    "multivariate": lambda query: MultivariateDetector(query.false_alarms, query.step, query.group_by),
    "autoencoder": lambda query: TrainedDetector(
        AutoencoderModel(), query.false_alarms, query.step, windows=Samples()
    ),
    "matrix_profile": lambda query: DiscordDetector(query.false_alarms, query.step),
    **{name: _trained(name) for name in TRAINED},
    "council": _council,
}

FORECASTERS: Mapping[str, Callable[[QueryConfig], Forecaster]] = {
    "pool": lambda query: SpanForecaster(query.forecast_horizons, query.step),
    "seasonal": lambda query: SeasonalForecaster(query.forecast_horizons, query.step),
}


def make_detector(name: str, query: QueryConfig) -> Detector:
    """A new detector of that name.

    Raises: ModelError listing the known names.
    """
    if name not in DETECTORS:
        raise ModelError(f"no detector {name!r}; known: {', '.join(sorted(DETECTORS))}")
    return DETECTORS[name](query)


def make_forecaster(name: str, query: QueryConfig) -> Forecaster:
    """A new forecaster of that name.

    Raises: ModelError listing the known names.
    """
    if name not in FORECASTERS:
        raise ModelError(f"no forecaster {name!r}; known: {', '.join(sorted(FORECASTERS))}")
    return FORECASTERS[name](query)
