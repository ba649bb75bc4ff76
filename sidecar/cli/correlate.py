"""`pronoia correlate`: recorded Alertmanager webhooks into incidents with cause, priority and noise."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click
import msgspec

from sidecar.errors import SidecarError


@click.command()
@click.option(
    "--in",
    "source",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help='Recorded deliveries, a line each: {"received_at": ISO, "payload": {Alertmanager v4 webhook}}.',
)
@click.option(
    "--topology",
    "topology_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The service graph (YAML): services with depends_on and runs_on, nodes with zones.",
)
@click.option(
    "--out",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Incidents, one a line.",
)
@click.option(
    "--identity-label",
    "identity",
    multiple=True,
    help="A label that names what an alert is about, before the known ones; may be given again.",
)
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of a static embedding model: other words for the same thing are alike (extra `embeddings`).",
)
def correlate(
    source: Path,
    topology_path: Path | None,
    target: Path,
    identity: tuple[str, ...],
    embeddings: Path | None,
) -> None:
    """Turn recorded webhooks into incidents.

    Deliveries are read in order and without look-ahead, by the same parts that
    `pronoia run` uses. Lines that cannot be read are named and passed over.

    \b
    Examples:
      pronoia correlate --in webhooks.jsonl --out incidents.jsonl
      pronoia correlate --in webhooks.jsonl --topology services.yaml --out incidents.jsonl

    Exit codes: 0 fine, 1 some lines could not be read, 2 wrong use.
    """
    gc.disable()  # A short process that keeps nearly all it makes.
    from sidecar.durable import replace_file
    from webhooks.correlate import meaning
    from webhooks.correlate.topology import load
    from webhooks.offline import correlate as incidents_of

    def lines() -> list[bytes]:
        return (sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()).splitlines()

    complaints: list[str] = []
    try:
        topology = load(topology_path) if topology_path else None
        encode = meaning.load(embeddings) if embeddings else None
        incidents = incidents_of(
            lines(), topology=topology, identity=identity, encode=encode, warn=complaints.append
        )
    except (SidecarError, OSError) as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(2) from error
    line_of = msgspec.json.Encoder().encode
    content = b"".join(line_of(incident) + b"\n" for incident in incidents)
    if str(target) == "-":
        sys.stdout.buffer.write(content)
    else:
        try:
            replace_file(target, lambda file: file.write(content), mode=0o644)
        except OSError as error:
            click.echo(f"pronoia: {error}", err=True)
            raise SystemExit(2) from error
    for complaint in complaints[:20]:
        click.echo(f"pronoia: {complaint}", err=True)
    if complaints:
        click.echo(f"pronoia: {len(complaints)} lines could not be read", err=True)
        raise SystemExit(1)
