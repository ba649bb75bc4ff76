"""Rules that say the same in other words: by an embedding model of a folder, where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from model2vec import StaticModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from sidecar.cli.correlate import correlate
from tests.unit.webhooks.test_correlate import Stream, episode
from webhooks.correlate.likeness import Likeness
from webhooks.correlate.meaning import MeaningError, load, load_or_none
from webhooks.correlate.sighting import sight

DIRECTIONS = {"sluggish": (1, 0, 0), "slow": (0.9, 0.3, 0), "expired": (0, 0, 1), "[UNK]": (0, 0, 0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four words, as a real one is saved."""
    words = {word: at for at, word in enumerate(DIRECTIONS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    path = tmp_path_factory.mktemp("model")
    StaticModel(np.array(list(DIRECTIONS.values()), dtype=np.float32), tokenizer).save_pretrained(path)
    return path


def alike(likeness: Likeness, one: str, other: str) -> float:
    """How alike two rules of these texts are."""
    stream = Stream()
    for at, text in enumerate((one, other)):
        likeness.learn(sight(episode(f"R{at}", at=at, service=f"s{at}", text=text), stream.reader))
    return likeness.of("R0", "R1")


def test_other_words_for_the_same_are_alike_with_a_model_only(folder: Path) -> None:
    assert alike(Likeness(), "sluggish", "slow") == 0.0
    assert alike(Likeness(load(folder)), "sluggish", "slow") > 0.8
    assert alike(Likeness(load(folder)), "sluggish", "expired") == 0.0


def test_words_that_the_model_does_not_know_are_alike_by_themselves(folder: Path) -> None:
    assert alike(Likeness(load(folder)), "replication stalls", "replication stalls") == pytest.approx(1.0)


def test_a_folder_without_a_model_is_named_and_nothing_downloaded(tmp_path: Path) -> None:
    with pytest.raises(MeaningError, match="no model"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(MeaningError, match=str(tmp_path)):
        load(tmp_path)
    assert load_or_none(tmp_path) is None, "live, words alone count then"


def test_the_command_takes_a_model(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "in.jsonl"
    empty.write_bytes(b"")
    run = CliRunner().invoke(correlate, ["--in", str(empty), "--out", "-", "--embeddings", str(folder)])
    assert run.exit_code == 0, run.output
    run = CliRunner().invoke(correlate, ["--in", str(empty), "--out", "-", "--embeddings", str(tmp_path)])
    assert run.exit_code == 2
    assert "no model.safetensors" in run.output
