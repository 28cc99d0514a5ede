# The first stage installs the packages of requirements.txt. The second stage becomes the image. Layers that rarely change
# come first, so that a build can reuse them.
FROM python:3.12-slim AS build
WORKDIR /app
RUN python -m venv /opt/venv
COPY requirements.txt ./
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.txt

FROM python:3.12-slim
# The relay runs as uid 10001, not as root. This user owns /data and its home folder.
RUN useradd --uid 10001 --create-home relay && mkdir /data && chown relay /data
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY prompts prompts
COPY sql sql
COPY dsp dsp
COPY relay relay
# Also copy your own files beside relay/: the package that FUNCTIONS names, and a business file. .dockerignore leaves out
# secrets, data, tests and documents.
COPY . .
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 DATA_DIR=/data PORT=8080
USER relay
EXPOSE 8080
# In this form of CMD the relay is PID 1 and gets the signals itself. It drains on SIGTERM.
CMD ["python", "-m", "relay", "serve"]
