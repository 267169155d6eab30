# unmask serve on a CPU; docs/deploy.md says how to build and run it. Where no container engine is
# at hand, tools/replay_dockerfile.py carries out these lines.

FROM python:3.11-slim AS wheel
WORKDIR /build
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN python -m hatchling build --target wheel --directory /dist

FROM python:3.11-slim AS install
# An index with torch's builds for CPUs. Without one torch brings CUDA, which no CPU needs.
ARG TORCH_INDEX=""
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/unmask
RUN if [ -z "$TORCH_INDEX" ]; then cp requirements.lock rest.lock; else \
      /opt/unmask/bin/pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" \
        $(grep -oE '^torch(vision)?==[^ ]+' requirements.lock) \
      && awk '/^[a-z]/ { keep = !/^(torch|torchvision|triton)==|^(cuda|nvidia)-/ } keep' \
        requirements.lock > rest.lock; \
    fi
RUN /opt/unmask/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r rest.lock
COPY --from=wheel /dist /dist
RUN /opt/unmask/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --home-dir /data unmask \
    && install -d -o unmask -g unmask -m 700 /data
COPY --from=install /opt/unmask /opt/unmask
ENV PATH=/opt/unmask/bin:$PATH HOME=/data PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["unmask"]
CMD ["serve", "--host", "0.0.0.0", "--data", "/data"]
