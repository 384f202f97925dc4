//! A real nginx in front of a node, with a configuration of the test's choice.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::eventually;
use super::process::{ChildGuard, Runtime, signal, wait};

/// One running nginx. Its files are removed with it.
pub struct Nginx {
    child: ChildGuard,
    directory: Runtime,
    /// Its address.
    pub address: String,
}

impl Nginx {
    /// Starts nginx with this content of `http { … }`. LISTEN stands for its address, UPSTREAM for
    /// the node's address, CERT and KEY for the files of a certificate. If nginx is missing and not
    /// required, prints why and returns `None`.
    pub fn start(test: &str, http: &str, upstream: &str) -> Option<Self> {
        Self::start_at(&free_address(), test, http, upstream)
    }

    /// The same at an address of the test's choice.
    pub fn start_at(address: &str, test: &str, http: &str, upstream: &str) -> Option<Self> {
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            assert!(
                std::env::var("COUNTER_REQUIRE_NGINX").is_err(),
                "COUNTER_REQUIRE_NGINX is set, and there is no nginx"
            );
            println!("SKIPPED {test}: no nginx on this machine (Debian: apt-get install nginx)");
            return None;
        }
        if http.contains("CERT")
            && Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err()
        {
            assert!(
                std::env::var("COUNTER_REQUIRE_NGINX").is_err(),
                "COUNTER_REQUIRE_NGINX is set, and there is no openssl"
            );
            println!(
                "SKIPPED {test}: no openssl on this machine (Debian: apt-get install openssl)"
            );
            return None;
        }
        let directory = Runtime::new();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let (cert, key) = (at("cert.pem"), at("key.pem"));
        if http.contains("CERT") {
            make_certificate(&cert, &key);
        }
        let http = http
            .replace("LISTEN", address)
            .replace("UPSTREAM", upstream)
            .replace("CERT", &cert)
            .replace("KEY", &key);
        // Workers run as another user, and need access to their directory.
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
            .concat();
        let config = format!(
            "pid {};\nerror_log {} warn;\nworker_processes 1;\nworker_rlimit_nofile 16000;\nevents \
                {{ worker_connections 15000; }}\n\
             http {{\naccess_log {};\n{temporary}{http}\n}}\n",
            at("pid"),
            at("error.log"),
            at("access.log"),
        );
        std::fs::write(at("nginx.conf"), config).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), permissions).unwrap();
        let mut command = Command::new("nginx");
        command
            .args(["-p", &at(""), "-c", &at("nginx.conf"), "-g", "daemon off;"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = ChildGuard(command.spawn().unwrap());
        let nginx = Self { child, directory, address: address.to_owned() };
        eventually("nginx listens", Duration::from_secs(10), || {
            std::net::TcpStream::connect(&nginx.address)
                .map(drop)
                .map_err(|error| format!("{error}: {}", nginx.log()))
        });
        Some(nginx)
    }

    /// Its error log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }

    /// Its access log.
    pub fn requests(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A kill would leave its workers behind.
        signal(self.child.0.id(), "TERM");
        let _ended = wait(&mut self.child.0, Duration::from_secs(10));
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn make_certificate(cert: &str, key: &str) {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]);
    command.args(["-keyout", key, "-out", cert]).stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "openssl makes a certificate");
}

/// The file of an operator's configuration in this repository.
pub fn deploy_file(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "deploy", name].iter().collect();
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
