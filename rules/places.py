"""Which publisher a configuration means; the one that is not chosen is not imported."""

from __future__ import annotations

from rules.publisher import RulePublisher
from rules.verify import RuleServer
from sidecar.config.model import RulesConfig


def publisher_for(config: RulesConfig, server: RuleServer) -> RulePublisher:
    """The publisher that the configuration asks for.

    Raises: ValueError where it names no place.
    """
    if config.publish == "prometheus_rule":
        from rules.kubernetes import RuleObjects
        from rules.publish_objects import ObjectPublisher

        return ObjectPublisher(
            config.prometheus_rule,
            RuleObjects(config.prometheus_rule),
            server,
            verify_timeout_seconds=config.verify_seconds,
        )
    if config.publish == "ruler":
        from rules.publish_ruler import RulerPublisher
        from rules.ruler import RulerApi

        return RulerPublisher(RulerApi(config.ruler), server, verify_timeout_seconds=config.verify_seconds)
    from rules.publish import Publisher

    if config.directory is None:
        raise ValueError("the rules loop needs a directory, or publish: prometheus_rule or ruler")
    return Publisher(
        config.directory, server, reload=config.reload, verify_timeout_seconds=config.verify_seconds
    )
