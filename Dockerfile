# PixyProxy as an image:
#   docker build -t pixyproxy . && docker run --stop-timeout 720 -p 127.0.0.1:8000:8000 -v pixyproxy:/data pixyproxy
# --stop-timeout: `docker stop` kills after 10 s by default, and a running generation is paid for. After SIGTERM the exit
# status is 0: the process is PID 1, which does not end by a signal.
# Without configuration everything is in /data (SQLite and a folder). The first start prints the API key.

# The tests run on the same Python and Debian.
FROM python:3.11-slim-bookworm AS builder
WORKDIR /build
# Without pip: the final image cannot install anything.
RUN python -m venv --without-pip /opt/pixyproxy
COPY requirements.txt ./
RUN pip --python /opt/pixyproxy/bin/python install --no-cache-dir --disable-pip-version-check \
    --only-binary :all: --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY pixyproxy ./pixyproxy
RUN pip --python /opt/pixyproxy/bin/python install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.11-slim-bookworm
# ca-certificates: the upstream's TLS certificate is verified with the system's store. Not pinned: Debian's archive keeps
# no old versions, and the newest certificates are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 pixyproxy \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin pixyproxy \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=builder /opt/pixyproxy /opt/pixyproxy
ENV PATH=/opt/pixyproxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIXYPROXY_HOST=0.0.0.0 \
    PIXYPROXY_DATA_DIR=/data
WORKDIR /data
# A number, so that Kubernetes can verify that the user is not root.
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
# Is the process alive? /readyz checks database and storage. The image has no curl; HTTP_PROXY must not be used here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ.get('PIXYPROXY_PORT') or 8000}/healthz\", timeout=4)"]
ENTRYPOINT ["pixyproxy"]
CMD ["serve"]
