# Two stages: the first installs what the lock pins, the second is the image. Layers that change rarely come first.
FROM python:3.12-slim AS build
WORKDIR /app
RUN python -m venv /opt/venv
COPY requirements.txt ./
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.txt

FROM python:3.12-slim
# One process, no root: uid 10001 owns /data and nothing else.
RUN useradd --uid 10001 --create-home relay && mkdir /data && chown relay /data
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY prompts prompts
COPY sql sql
COPY dsp dsp
COPY relay relay
# What you have put beside relay/: the package that FUNCTIONS names, a business file. .dockerignore leaves out the rest.
COPY . .
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1 DATA_DIR=/data PORT=8080
USER relay
EXPOSE 8080
# Exec form: signals go to the relay itself (PID 1), which drains on SIGTERM.
CMD ["python", "-m", "relay", "serve"]
