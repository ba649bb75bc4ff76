"""Multi-window, multi-burn-rate alerts of an objective.

Source: Beyer et al., The Site Reliability Workbook (2018), chapter 5, "Alerting on SLOs", table 5-8:
a page where 2 % of a 30-day budget goes in an hour or 5 % in six, a ticket where 10 % goes in three days.
"""

from __future__ import annotations

from dataclasses import dataclass

from rules.document import RuleFile, camel
from rules.generate.groups import Group, rule_file
from rules.rewrite import plain_number
from sidecar.config.fields import format_duration
from sidecar.config.slo import WINDOW, SloConfig


@dataclass(frozen=True, slots=True)
class Burn:
    """An alert: this share of the budget gone within `long`, and still going within `short`."""

    share: float
    long: float
    short: float
    hold: float
    pages: bool

    def rate(self, window_seconds: float) -> float:
        """How many times faster than the budget allows: 1 uses it up exactly at the window's end."""
        return self.share * window_seconds / self.long


BURNS = (
    Burn(0.02, 3600, 300, 120, pages=True),
    Burn(0.05, 6 * 3600, 1800, 900, pages=True),
    Burn(0.10, 86_400, 2 * 3600, 3600, pages=False),
    Burn(0.10, 3 * 86_400, 6 * 3600, 3 * 3600, pages=False),
)


def slo_file(slo: SloConfig) -> RuleFile:
    """The rule file of one objective."""
    return rule_file(f"slo-{slo.name}", slo_groups(slo), f"the objective {slo.name!r}")


def slo_groups(slo: SloConfig) -> list[Group]:
    """Recording rules of the error ratio in each window, of the budget left, and the alerts."""
    labels = {**slo.labels, "slo": slo.name}
    windows = sorted({window for burn in BURNS for window in (burn.long, burn.short)})
    records = [
        {"record": ratio_name(window), "expr": _ratio(slo, window), "labels": labels} for window in windows
    ]
    # The recorded ratio is averaged, because raw counters over 30 days are dear to read.
    selector = f'{{slo="{slo.name}"}}'
    records.append(
        {
            "record": "slo:error_budget_left:ratio",
            "expr": f"1 - avg_over_time({ratio_name(300)}{selector}[{format_duration(slo.window)}])"
            f" / {plain_number(1 - slo.objective)}",
            "labels": labels,
        }
    )
    alerts = [_alert(slo, burn, selector, labels) for burn in BURNS]
    name = f"pronoia-slo-{slo.name}"
    return [{"name": f"{name}-ratios", "rules": records}, {"name": name, "rules": alerts}]


def ratio_name(window_seconds: float) -> str:
    """The recorded error ratio over a window.

    >>> ratio_name(3600)
    'slo:error_ratio:rate1h'
    """
    return f"slo:error_ratio:rate{format_duration(window_seconds)}"


def _ratio(slo: SloConfig, window_seconds: float) -> str:
    window = format_duration(window_seconds)
    errors, total = slo.errors.replace(WINDOW, window), slo.total.replace(WINDOW, window)
    # No bad event yet is a series that is absent, and no errors; nothing at all is no ratio.
    return f"(({errors}) or 0 * ({total}))\n/\n({total} > 0)"


def _alert(slo: SloConfig, burn: Burn, selector: str, labels: dict[str, str]) -> dict[str, object]:
    burning = plain_number(round(burn.rate(slo.window) * (1 - slo.objective), 12))
    long, short = format_duration(burn.long), format_duration(burn.short)
    expr = (
        f"{ratio_name(burn.long)}{selector} > {burning}\nand\n{ratio_name(burn.short)}{selector} > {burning}"
    )
    if slo.min_rate > 0:
        expr += f"\nand on ()\nsum({slo.total.replace(WINDOW, short)}) > {plain_number(slo.min_rate)}"
    annotations = {
        "summary": f"{slo.name}: {burn.share:.0%} of the error budget in {long}",
        "description": f"{{{{ $value | humanizePercentage }}}} of events were bad in the last {long}, "
        f"and they still are in the last {short}; the objective is {slo.objective:.6g}.",
    }
    if slo.runbook_url:
        annotations["runbook_url"] = slo.runbook_url
    severity = slo.page_severity if burn.pages else slo.ticket_severity
    return {
        "alert": f"{camel(slo.name)}ErrorBudgetBurns{long}",
        "expr": expr,
        "for": format_duration(burn.hold),
        "labels": {**labels, "severity": severity, "generator": "pronoia"},
        "annotations": annotations,
    }
