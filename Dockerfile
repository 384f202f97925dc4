# The image of counter-web: built in a cache that outlives it, run by nobody in particular on a
# root that may be read-only.
#
#   docker build -t counter-web .
#   docker run --rm -p 8080:8080 --read-only --tmpfs /tmp counter-web            # in memory
#   docker run --rm -p 8080:8080 -v counter:/data -e COUNTER_DATA_DIR=/data counter-web
#
# Why this base: the binary links libc, libm and libgcc_s and nothing else (ring builds its C into
# it), and distroless/cc is exactly these, without a shell or a package manager. A static musl
# binary would be as small, with musl's slower allocator on the path of every join. The builder's
# Debian must not be newer than the base's: both are 12.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Names of functions stay for backtraces; line tables, which the release profile keeps for
# profilers, would be most of the image.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
COPY . .
# The registry and the target directory are caches of the builder: a change here compiles this
# workspace's crates only. The target directory is not part of the layer, so the binary is copied
# out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p counter-web && install -D target/release/counter-web /out/counter-web && mkdir /out/data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/counter-web /usr/local/bin/counter-web
# Owned by who runs it, so that a new volume mounted there is writable.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV COUNTER_HTTP=0.0.0.0:8080
# Gossip (7117) is among nodes only, and wants a cluster key: without one only loopback is
# listened on.
EXPOSE 8080 7117
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/counter-web"]
CMD ["serve"]
