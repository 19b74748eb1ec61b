# rtbench with mosquitto, and nginx with nchan: the image of every service in docker-compose.yml that is not mosquitto's.
FROM python:3.12-slim-bookworm
COPY . /src
RUN /src/docker/install /src && useradd --create-home bench && mkdir /results && chown bench /results
USER bench
WORKDIR /home/bench
ENTRYPOINT ["rtbench"]
