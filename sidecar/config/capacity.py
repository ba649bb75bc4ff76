"""The configuration of what can be used up: disks, quotas, pools, and how full is full."""

from __future__ import annotations

from pydantic import Field

from sidecar.config.section import Section

_ON_DISK = '{fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660"}'


class CapacityConfig(Section):
    """Something that can be used up: an expression, usually of the used share, and where its end is near."""

    name: str = Field(min_length=1, description="the label `rule` of its time left")
    expr: str = Field(min_length=1)
    above: float = Field(0.95, description="beyond this it is as good as used up")


CAPACITIES = (
    CapacityConfig(
        name="DiskSpace",
        expr=f"1 - node_filesystem_avail_bytes{_ON_DISK} / node_filesystem_size_bytes{_ON_DISK}",
    ),
    CapacityConfig(
        name="DiskInodes",
        expr=f"1 - node_filesystem_files_free{_ON_DISK} / (node_filesystem_files{_ON_DISK} > 0)",
    ),
    CapacityConfig(
        name="VolumeSpace", expr="kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes"
    ),
    CapacityConfig(
        name="ResourceQuota",
        expr='kube_resourcequota{type="used"} / ignoring (type) (kube_resourcequota{type="hard"} > 0)',
    ),
    CapacityConfig(
        name="Autoscaler",
        expr="kube_horizontalpodautoscaler_status_current_replicas "
        "/ kube_horizontalpodautoscaler_spec_max_replicas",
        above=0.99,
    ),
    CapacityConfig(name="FileDescriptors", expr="process_open_fds / process_max_fds"),
    CapacityConfig(
        name="ConnectionTracking", expr="node_nf_conntrack_entries / node_nf_conntrack_entries_limit"
    ),
    CapacityConfig(
        name="PostgresConnections",
        expr="sum by (instance) (pg_stat_database_numbackends) "
        "/ on (instance) max by (instance) (pg_settings_max_connections)",
    ),
    CapacityConfig(name="ConnectionPool", expr="hikaricp_connections_active / hikaricp_connections_max"),
)
"""What usual exporters show; of those that are not there nothing is read."""
