"""Every endpoint of the process on one application."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from exporters.scrape import ScrapeEndpoints
from sidecar.api.families import FamilyEndpoints
from sidecar.api.outlook import OutlookEndpoints
from sidecar.api.server import build_app
from sidecar.api.views import Reload
from sidecar.app.explain import Explaining
from sidecar.app.feedback import Tasting
from sidecar.app.ground import Ground
from sidecar.app.outlook import SidecarOutlook
from sidecar.app.response import Responding
from sidecar.app.views import AppViews
from sidecar.app.workings import Workings
from sidecar.config.model import Config
from sidecar.loop.warming import Warming
from webhooks.intake.receiver import ROUTES, Receiver
from webhooks.judge.evidence_feed import CHANGES_PATH, ChangesEndpoint
from webhooks.pipeline import AlertsLoop
from webhooks.respond.http import FEEDBACK_ROUTE
from webhooks.respond.pagerduty_events import EVENTS_PATH
from webhooks.respond.slack_actions import INTERACTIONS_PATH

OWN_PROOF = ROUTES | {CHANGES_PATH, FEEDBACK_ROUTE, INTERACTIONS_PATH, EVENTS_PATH}
"""Routes that check their senders by themselves: the webhook's credentials, signed links and requests."""


def endpoints(
    config: Config,
    ground: Ground,
    *,
    alerts: AlertsLoop,
    responding: Responding,
    explaining: Explaining,
    tasting: Tasting,
    warming: Warming,
    workings: Callable[[], Workings],
    reload: Reload,
    quit_process: Callable[[], None],
) -> web.Application:
    """The application as the start's configuration describes it; `workings`: the loops as they are now."""
    app = build_app(
        views=AppViews(ground, alerts, warming, workings),
        bus=ground.bus,
        reload=reload,
        quit_process=quit_process,
        max_body_bytes=config.webhook.max_body_bytes,
        access=config.server.access,
        own_proof=OWN_PROOF,
    )
    ScrapeEndpoints(ground.page, ground.registry).add_routes(app.router)
    Receiver(
        alerts.intake,
        config.webhook,
        registry=ground.registry,
        flaps=alerts.placing.flaps,
        now=ground.wall,
    ).add_routes(app.router)
    responding.add_routes(app.router)
    explaining.add_routes(app.router)
    tasting.add_routes(app.router)
    FamilyEndpoints(lambda: workings().behaviour).add_routes(app.router)
    OutlookEndpoints(SidecarOutlook(workings, ground.offload)).add_routes(app.router)
    ChangesEndpoint(
        lambda: alerts.placing.analyst, config.webhook.auth, ground.store, ground.wall
    ).add_routes(app.router)

    async def end_streams(_: web.Application) -> None:
        ground.bus.close()

    app.on_shutdown.append(end_streams)
    return app
