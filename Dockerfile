# One small image for all our processes, none of which is root: hooks, responder, admin, migrate, cli.
FROM python:3.11-slim-bookworm AS packages
COPY requirements.txt /
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-compile --prefix /packages -r requirements.txt

FROM python:3.11-slim-bookworm
COPY --from=packages /packages /usr/local
WORKDIR /app
COPY service service
COPY sql sql
COPY embedded embedded
COPY mosquitto/go-auth mosquitto/go-auth
COPY mosquitto/provision.conf mosquitto/account.conf mosquitto/
RUN printf '#!/bin/sh\ncd /app && exec python -m service cli "$@"\n' > /usr/local/bin/provision \
    && chmod 0755 /usr/local/bin/provision \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin provisioning
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["python", "-m", "service"]
