# syntax=docker/dockerfile:1
# medseg in an image: see docs/containers.md.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim AS build

# PyTorch with its index, so that one argument chooses CPU or CUDA: the default build has CUDA on Linux x86-64.
ARG TORCH="torch==2.13.0"
ARG EXTRAS="brain,pacs,codecs"

WORKDIR /source
COPY . .
# PyTorch goes first: a looser request by another package could bring another build. $TORCH is several words.
# hadolint ignore=SC2086
RUN python -m venv /opt/medseg \
    && /opt/medseg/bin/pip install --no-cache-dir ${TORCH} \
    && /opt/medseg/bin/pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]" \
    && /opt/medseg/bin/pip install --no-cache-dir --no-deps ipyniivue==2.4.4

FROM python:${PYTHON}-slim

ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="medseg" \
      org.opencontainers.image.description="Label-free segmentation of 3D medical scans; for research, not a medical device" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0 AND LGPL-3.0-or-later" \
      org.opencontainers.image.authors="medseg contributors"

COPY --from=build /opt/medseg /opt/medseg
# Settings of libraries that would write into a home; /tmp is a tmpfs of the caller.
ENV PATH=/opt/medseg/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin medseg
USER 10001:10001
WORKDIR /tmp

HEALTHCHECK --interval=5m --timeout=60s --start-period=30s CMD ["medseg", "doctor", "/tmp"]
ENTRYPOINT ["medseg"]
CMD ["--help"]
