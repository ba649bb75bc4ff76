"""`pronoia rules generate`: packs and objectives as rule files with their unit tests."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.cli.options import config_option, read_config
from sidecar.cli.rules_table import print_table
from sidecar.durable import replace_file
from sidecar.errors import RuleError, RuleReason, SidecarError

READABLE = 0o644
"""Prometheus runs as a user of its own."""


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--kind",
    type=click.Choice(["absence", "flatline", "sibling", "recording"]),
    multiple=True,
    help="For queries of the configuration (or those named): gone, frozen, unlike its siblings, recorded.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="ALERT",
    help="Leave this alert of a pack out, besides rules.disabled_alerts; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write files into this folder.")
@config_option
def generate(
    names: tuple[str, ...],
    kind: tuple[str, ...],
    without: tuple[str, ...],
    out: Path | None,
    config_path: Path | None,
) -> None:
    """Print or write rules: packs by NAME, `slo` for the configuration's objectives, kinds for queries.

    Without a NAME the packs are listed. A pack comes with a file for `promtool test rules`.

    \b
    Examples:
      pronoia rules generate
      pronoia rules generate node http --out rules/
      pronoia rules generate databases --without MysqlSlowQueries --out rules/
      pronoia rules generate slo --config pronoia.yaml --out rules/
      pronoia rules generate --kind absence --config pronoia.yaml
    """
    from rules.generate.packs import load_pack, pack_names

    if not names and not kind:
        packs = [load_pack(name) for name in pack_names()]
        print_table(("pack", "alerts", "about"), [(p.name, str(p.n_alerts), p.about) for p in packs])
        return
    try:
        files = _files(names, kind, without, config_path)
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(2) from error
    for name, text in files.items():
        if out is None:
            click.echo(text)
            continue
        _write(out / name, text)
        click.echo(f"{out / name}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: file.write(text.encode()), mode=READABLE)
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from error


def _files(
    names: tuple[str, ...], kinds: tuple[str, ...], without: tuple[str, ...], config_path: Path | None
) -> dict[str, str]:
    """Texts by file name."""
    from rules.generate.groups import rule_file
    from rules.generate.kinds import KINDS
    from rules.generate.packs import chosen_packs
    from rules.generate.slo import slo_file

    config = read_config(config_path)
    files: dict[str, str] = {}
    if "slo" in names and not kinds:
        if not config.slo:
            raise RuleError(RuleReason.NOT_APPLICABLE, "no objective is configured; see slo in docs/rules.md")
        files |= {file.file_name: file.text for file in map(slo_file, config.slo)}
    packs = chosen_packs([name for name in names if name != "slo"] if not kinds else (), without)
    for pack in (one.without(config.rules.disabled_alerts) for one in packs):
        files[pack.file().file_name] = pack.file().text
        files[f"pronoia-{pack.name}.test.yaml"] = pack.tests()
    queries = [query for query in config.queries if not names or query.name in names]
    unknown = set(names) - {query.name for query in queries} if kinds else ()
    if kinds and (unknown or not queries):
        what = f"no query is named {', '.join(sorted(unknown))}" if unknown else "no query is configured"
        raise RuleError(
            RuleReason.NOT_APPLICABLE, f"{what}; --kind makes rules of the configuration's queries"
        )
    for kind in kinds:
        rules = [KINDS[kind](query) for query in queries]
        group = {"name": f"pronoia-{kind}", "rules": rules}
        file = rule_file(kind, [group], f"the configured queries ({kind})")
        files[file.file_name] = file.text
    return files
