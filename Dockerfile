# The image of counter-web. The build keeps its caches. The program runs as an unprivileged user,
# and the root may be read-only.
#
#   docker build -t counter-web .
#   docker run --rm -p 8080:8080 --read-only --tmpfs /tmp counter-web            # in memory
#   docker run --rm -p 8080:8080 -v counter:/data -e COUNTER_DATA_DIR=/data counter-web
#
# Why this base: the binary links libc, libm and libgcc_s and nothing else (ring builds its C into
# it). distroless/cc has exactly these, without a shell or a package manager. A static musl binary
# would be as small, but musl's slower allocator would slow down every join. The builder's Debian
# must not be newer than the base's: both are 12.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Keeps the names of functions for backtraces. Drops the line tables, which the release profile
# keeps for profilers: they would be most of the image.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
COPY . .
# The registry and the target directory are caches of the builder: a change here compiles this
# workspace's crates only. The target directory is not part of the layer, so the binary is copied
# out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p counter-web \
    && install -D target/release/counter-web /out/counter-web && mkdir /out/data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/counter-web /usr/local/bin/counter-web
# Owned by the user below, so that a new volume mounted there is writable.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV COUNTER_HTTP=0.0.0.0:8080
# Gossip (7117) is among nodes only. Without a cluster key a node listens for it on loopback only.
EXPOSE 8080 7117
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/counter-web"]
CMD ["serve"]
