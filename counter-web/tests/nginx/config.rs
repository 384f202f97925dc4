//! The configurations of nginx.

use crate::support::nginx::deploy_file;

/// The shortest one, with nginx's defaults: `Host: $proxy_host`, HTTP/1.0, no Upgrade, buffering
/// on.
pub(crate) const DEFAULT: &str =
    "server { listen LISTEN; location / { proxy_pass http://UPSTREAM; } }";

/// A careful operator's, without TLS.
pub(crate) fn careful() -> String {
    deployed().replace("listen LISTEN ssl http2;", "listen LISTEN;").replace("ssl_certificate", "#")
}

/// The file of deploy/, with the test's address, upstream and certificate.
pub(crate) fn deployed() -> String {
    let file = deploy_file("nginx.conf");
    let mut config = file.clone();
    for (operators, tests) in [
        ("listen 443 ssl http2;", "listen LISTEN ssl http2;"),
        ("/etc/ssl/counter/fullchain.pem", "CERT"),
        ("/etc/ssl/counter/privkey.pem", "KEY"),
        ("http://127.0.0.1:4000", "http://UPSTREAM"),
    ] {
        assert!(file.contains(operators), "deploy/nginx.conf has {operators}");
        config = config.replace(operators, tests);
    }
    config
}

/// The careful one, below a path that the node does not know.
pub(crate) fn below_a_path() -> String {
    careful()
        .replace("location / {", "location /apps/counter/ {")
        .replace("http://UPSTREAM", "http://UPSTREAM/")
}
