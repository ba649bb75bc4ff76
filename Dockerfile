# syntax=docker/dockerfile:1
# pronoia's image: a wheel, a virtual environment, and nothing else on a slim Python.
# Runs as uid 10001 with a read-only root; writes only to /var/lib/pronoia, /var/lib/pronoia-rules and /tmp.

ARG PYTHON=python:3.11-slim-bookworm
ARG PROMETHEUS=prom/prometheus:v2.53.5

# promtool checks each rule before Prometheus sees it.
FROM ${PROMETHEUS} AS promtool

FROM ${PYTHON} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml README.md LICENSE ./
COPY sidecar sidecar
COPY exporters exporters
COPY webhooks webhooks
COPY rules rules
RUN ["python", "-m", "venv", "/opt/pronoia"]
RUN ["/opt/pronoia/bin/pip", "install", "."]
# Data folders are made here, because the last stage runs no command as root.
RUN ["install", "-d", "-o", "10001", "-g", "10001", "-m", "0770", "/data/pronoia", "/data/pronoia-rules"]

FROM ${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pronoia" \
      org.opencontainers.image.description="Foresight for Prometheus and Alertmanager" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=promtool /bin/promtool /usr/local/bin/promtool
COPY --from=build /opt/pronoia /opt/pronoia
COPY --from=build --chown=10001:10001 /data/pronoia /var/lib/pronoia
COPY --from=build --chown=10001:10001 /data/pronoia-rules /var/lib/pronoia-rules
ENV PATH=/opt/pronoia/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/lib/pronoia/.numba
USER 10001:10001
WORKDIR /var/lib/pronoia
VOLUME ["/var/lib/pronoia"]
EXPOSE 9469
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9469/-/healthy', timeout=4)"]
ENTRYPOINT ["pronoia"]
CMD ["run", "--data", "/var/lib/pronoia"]
