"""What texts mean, as vectors: a static embedding model in a folder of its own (the extra `embeddings`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sidecar.errors import SidecarError

Encode = Callable[[str], Sequence[float]]
"""A text's vector, of any length but always the same."""


class MeaningError(SidecarError):
    """An embedding model that cannot be used; the message names the folder."""


def load(folder: Path) -> Encode:
    """The model of a folder, as `StaticModel.save_pretrained` of model2vec writes it. Nothing is downloaded.

    Raises: MeaningError.
    """
    if not (folder / "model.safetensors").is_file():
        # model2vec would take the name for that of a model to download.
        raise MeaningError(
            f"embedding model {folder}: it has no model.safetensors; save a static model there"
        )
    try:
        # Imported late: it needs half a second, and few have it.
        from model2vec import StaticModel

        model = StaticModel.from_pretrained(folder, normalize=True)
    except ImportError as error:
        raise MeaningError("embeddings need more packages: pip install 'pronoia[embeddings]'") from error
    except Exception as error:  # Whatever three libraries raise for a file that is none of theirs.
        raise MeaningError(f"embedding model {folder}: {' '.join(str(error).split())[:200]}") from error

    def encode(text: str) -> list[float]:
        vector: list[float] = model.encode([text], use_multiprocessing=False)[0].tolist()
        return vector

    return encode


def load_or_none(folder: Path | None) -> Encode | None:
    """The model of a folder, if one is named; one that cannot be used is said so, and words alone count."""
    if folder is None:
        return None
    try:
        return load(folder)
    except MeaningError as error:
        from sidecar.telemetry import get_logger

        get_logger("embeddings").error("no embeddings; comparing words alone", err=str(error))
        return None
