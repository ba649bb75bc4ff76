"""What the words of well-known rules say, with their summaries and by their names alone.

Names as in the public collections of rules that people start from (kubernetes-mixin,
node-mixin, awesome-prometheus-alerts) and as teams call their own; summaries are shortened.
"""

from __future__ import annotations

import pytest

from webhooks.correlate.wording import read, spoken

FAILING_SYMPTOMS = """
    HighErrorRate: High error rate on checkout
    ServiceErrorRateTooHigh: Service returns errors for more than 5% of requests
    Http5xxRatioHigh: 5xx ratio above 1%
    HaproxyHighHttp5xxErrorRateBackend: Too many HTTP requests with status 5xx (> 5%) on backend
    NginxHighHttp5xxErrorRate: Too many HTTP requests with status 5xx (> 5%)
    TraefikHighHttp5xxErrorRateService: Traefik service 5xx error rate is above 5%
    IstioHigh5xxErrorRate: High percentage of HTTP 5xx responses in Istio (> 5%)
    EnvoyHighDownstreamHttp5xxErrorRate: Envoy downstream HTTP 5xx error rate is above 5%
    GatewayTimeouts504: Gateway returns 504 Gateway Timeout for 10% of requests
    SLOErrorBudgetBurnFast: Error budget burns 14.4x too fast
"""
FAILING = """
    EnvoyClusterNoHealthyHosts: Envoy cluster has no healthy hosts
    IngressBadGateway: Ingress answers 502 Bad Gateway
    ServiceUnavailable503: 503 Service Unavailable responses
    InternalServerErrorsSpike: Internal server errors spiked
    BlackboxProbeFailed: Probe failed
    BlackboxProbeHttpFailure: HTTP status code is not 200-399
    UptimeCheckFailing: Uptime check is failing
    HealthCheckFailed: Health check of the service failed
    HealthcheckUnsuccessful: Health endpoint does not answer
    LoginFailuresHigh: More than 10% of logins fail
    PaymentSuccessRateLow: Payment success rate below 99%
    SearchSuccessRatioDropped: Success ratio of search fell below 95%
    RequestsFailing: Requests are failing
    ExceptionRateHigh: Unhandled exceptions per minute are high
    RedisRejectedConnections: Some connections to Redis have been rejected
"""
DOWN = """
    HaproxyBackendDown: HAProxy backend is down
    HaproxyNoAliveBackends: HAProxy has no alive active or backup backends
    HaproxyServerDown: HAProxy server is down
    TraefikServiceDown: All Traefik services are down
    BlackboxSslCertificateExpired: SSL certificate has expired already
    EndpointDown: Endpoint is down
    WebsiteDown: The website does not respond
    ServiceDown: Service is down
    ApiUnavailable: API cannot be reached
    CheckoutUnreachable: Checkout is unreachable
    KafkaOfflinePartitions: Partitions are offline
    KafkaBrokerDown: Broker is down
    KafkaNoActiveController: No active controller in the cluster
    RabbitmqNodeDown: Less than three nodes run in the RabbitMQ cluster
    PostgresqlDown: Postgresql instance is down
    MysqlDown: MySQL instance is down
    RedisDown: Redis instance is down
    RedisMissingMaster: Redis cluster has no node marked as master
    MongodbDown: MongoDB instance is down
    ElasticsearchClusterRed: Elastic cluster red status
    EtcdNoLeader: Etcd cluster has no leader
    ZookeeperDown: Zookeeper is down
    HostDown: Host is down
    CertificateExpired: Certificate has expired
    DNSLookupFailures: Lookups of names fail
    VaultSealed: Vault instance is sealed
"""
SLOW = """
    NginxLatencyHigh: Nginx p99 latency is higher than 3 seconds
    IstioHighRequestLatency: Istio average request execution time is longer than 100ms
    BlackboxSlowProbe: Blackbox probe took more than 1s to complete
    SLOErrorBudgetBurnSlow: Error budget burns 3x
    ErrorBudgetBurn: High error budget burn (6h window)
    LatencyP99High: p99 latency above 1s
    ApiLatencyHigh: API responds slowly
    SlowResponses: Responses take longer than 2s
    ApdexLow: Apdex below .7
    ResponseTimeDegraded: Response time is degraded
    QueueBacklogGrowing: Queue depth keeps growing
    ConsumerLagHigh: Consumer is behind by 10000 messages
    KafkaConsumerLag: Kafka consumer group lags
    KubeAPIErrorBudgetBurn: The API server is burning too much error budget
    UpstreamErrors: Calls to the upstream fail
    DependencyTimeouts: Calls to the dependency time out
"""
SHORT_OF_SOMETHING = """
    BlackboxSslCertificateWillExpireSoon: SSL certificate expires in less than 20 days
    KafkaUnderReplicatedPartitions: Partitions are under-replicated
    RabbitmqClusterPartition: Cluster partition
    RabbitmqMemoryHigh: A node uses more than 90% of allocated RAM
    PostgresqlTooManyConnections: PostgreSQL has more than 80% of connections used
    PostgresqlDeadLocks: PostgreSQL has dead-locks
    PgBouncerMaxConnections: The number of PGBouncer client connections has reached max_client_conn
    MysqlTooManyConnections: More than 80% of MySQL connections are in use
    MysqlSlaveIoThreadNotRunning: MySQL slave IO thread is not running
    RedisOutOfConfiguredMaxmemory: Redis runs out of configured maxmemory
    RedisTooManyConnections: Redis is running out of connections
    RedisEvictionsHigh: Redis evicts keys
    MongodbTooManyConnections: Too many connections (> 80%)
    ElasticsearchHeapUsageTooHigh: The heap usage is over 90%
    ElasticsearchDiskOutOfSpace: The disk usage is over 90%
    ElasticsearchUnassignedShards: Elasticsearch has unassigned shards
    HostOutOfMemory: Node memory is filling up (< 10% left)
    HostOutOfDiskSpace: Disk is almost full (< 10% left)
    HostOutOfInodes: Disk is almost running out of available inodes
    HostCpuStealNoisyNeighbor: CPU steal is > 10%
    HostSwapIsFillingUp: Swap is filling up
    HostOomKillDetected: OOM kill detected
    HostRaidDiskFailure: At least one device in RAID array failed
    HostNetworkInterfaceSaturated: Network interface is overloaded
    HostNetworkReceiveErrors: Interface has encountered receive errors
    HostClockSkew: Clock skew detected
    NodeFilesystemAlmostOutOfSpace: Filesystem has less than 5% space left
    KubeNodeNotReady: Node is not ready
    KubePodCrashLooping: Pod is crash looping
    KubeDeploymentReplicasMismatch: Deployment has not matched the expected number of replicas
    KubePersistentVolumeFillingUp: PersistentVolume is filling up
    KubeQuotaExceeded: Namespace quota has exceeded the limits
    CPUThrottlingHigh: Processes experience elevated CPU throttling
    OOMKilled: Container was killed because of memory
    ContainerKilled: A container has disappeared
    ImagePullBackOff: Image cannot be pulled
    JvmMemoryFillingUp: JVM memory is filling up (> 80%)
    ThreadPoolExhausted: Thread pool has no free threads
    ConnectionPoolExhausted: No connections left in the pool
    FileDescriptorsExhausted: Process runs out of file descriptors
    CertManagerCertNotReady: Certificate is not ready
    NtpNotSynchronised: Clock is not synchronised
    PacketLossHigh: Packet loss between zones above 5%
    NetworkPartition: Zone is cut off
    DeploymentStarted: A new version is being rolled out
    ConfigReloadFailed: Configuration reload has failed
    TrafficSpike: Request rate is 5 times the usual
    RequestsPerSecondHigh: More requests per second than usual
    MinioDiskOffline: Minio disk is offline
"""


def told(rules: str) -> list[object]:
    """Each rule twice: with its summary, and by its name alone."""
    rows = [row.strip().split(": ", 1) for row in rules.splitlines() if row.strip()]
    return [
        pytest.param(name, text, id=f"{name}{' alone' if not text else ''}")
        for name, summary in rows
        for text in (summary, "")
    ]


@pytest.mark.parametrize(("name", "text"), told(FAILING_SYMPTOMS + FAILING + DOWN))
def test_requests_fail_or_it_is_down(name: str, text: str) -> None:
    assert read(name, {"summary": text}).hard


@pytest.mark.parametrize(("name", "text"), told(SLOW + SHORT_OF_SOMETHING))
def test_slow_or_short_of_something_is_no_failing(name: str, text: str) -> None:
    assert not read(name, {"summary": text}).hard


@pytest.mark.parametrize(("name", "text"), told(DOWN + SHORT_OF_SOMETHING))
def test_what_is_broken_or_short_is_a_cause(name: str, text: str) -> None:
    assert read(name, {"summary": text}).cause > 0.0


@pytest.mark.parametrize(("name", "text"), told(FAILING_SYMPTOMS + SLOW))
def test_what_users_feel_is_a_symptom(name: str, text: str) -> None:
    assert read(name, {"summary": text}).cause < 0.0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Http5xxRatio", "http 5xx ratio"),
        ("Gateway504", "gateway 504"),
        ("HTTP500Errors", "http 500 errors"),
        ("NodeP99", "node p99"),
        ("EC2Down", "ec2 down"),
        ("Port4000Closed", "port4000 closed"),
    ],
)
def test_a_status_is_a_word_of_its_own(name: str, words: str) -> None:
    assert spoken(name) == words
