//! Discovery by DNS: every address of a name. The name is polled, because the answers change
//! without notice.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::report::{AddressSender, DiscoveryOutcome};
use crate::network::resolve::{Lookup, RecordFamily, Resolver};

/// Time between two queries while the node has no peer. A new node has to find the others soon.
const POLL_ALONE: Duration = Duration::from_millis(500);
/// Time between two queries otherwise. Orchestrators cache their answers for 5 to 30 s.
const POLL_MET: Duration = Duration::from_secs(3);
/// A query without an answer is given up after this time, and repeated later.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);

/// A name to resolve, and the resolver to ask.
pub(super) struct Question {
    pub(super) resolver: Resolver,
    pub(super) name: Arc<str>,
    /// The port that every node listens on.
    pub(super) port: u16,
}

/// Resolves the name at each poll and reports the answer, until the driver ends. `is_alone` returns
/// true while the node has no peer.
pub(super) async fn poll(question: Question, is_alone: impl Fn() -> bool, sender: AddressSender) {
    let mut was_answered = true;
    loop {
        let outcome = question.ask().await;
        match &outcome {
            DiscoveryOutcome::Unsure(reason) if was_answered => {
                tracing::warn!(
                    name = &*question.name,
                    "DNS discovery failed: {reason}; retrying. Known peers are unaffected"
                );
            }
            DiscoveryOutcome::Found(_) | DiscoveryOutcome::Nobody if !was_answered => {
                tracing::info!(name = &*question.name, "DNS discovery works again");
            }
            _ => {}
        }
        was_answered = !matches!(outcome, DiscoveryOutcome::Unsure(_));
        if !sender.report(outcome).await {
            return;
        }
        let interval = if is_alone() { POLL_ALONE } else { POLL_MET };
        // Jitter, so that nodes that started together spread their queries.
        tokio::time::sleep(interval.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
    }
}

impl Question {
    async fn ask(&self) -> DiscoveryOutcome {
        match self.resolver.ask(&self.name, RecordFamily::Both, ANSWER_MAX).await {
            Lookup::Addresses(ips) => {
                DiscoveryOutcome::Found(ips.into_iter().map(|ip| address(ip, self.port)).collect())
            }
            Lookup::Nobody => DiscoveryOutcome::Nobody,
            Lookup::Unsure(reason) => DiscoveryOutcome::Unsure(reason),
        }
    }
}

fn address(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip).with(Protocol::Tcp(port))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;
    use tracing::{Level, Metadata, span};

    use super::*;
    use crate::network::resolve::name_server::{Mode, NameServer};

    /// Counts warnings and infos of this module.
    #[derive(Default)]
    struct Lines {
        warnings: AtomicUsize,
        infos: AtomicUsize,
    }

    struct Collector(Arc<Lines>);

    impl tracing::Subscriber for Collector {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == module_path!().trim_end_matches("::tests")
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let lines = if *event.metadata().level() == Level::WARN {
                &self.0.warnings
            } else {
                &self.0.infos
            };
            lines.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    /// tracing asks once for all threads whether a line is of interest.
    static LOGGED: Mutex<()> = Mutex::new(());

    #[test]
    fn each_outage_logs_one_warning_and_one_info() {
        let _one_at_a_time = LOGGED.lock().unwrap();
        let lines = Arc::new(Lines::default());
        let told = || (lines.warnings.load(Ordering::Relaxed), lines.infos.load(Ordering::Relaxed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _collecting = tracing::subscriber::set_default(Collector(Arc::clone(&lines)));
        runtime.block_on(async {
            let server = NameServer::start("127.0.0.1:0").await;
            let (queue, mut reported) = mpsc::channel(1);
            let resolver = Resolver::Server(server.address);
            let question = Question { resolver, name: "nodes.test".into(), port: 7 };
            let polling = tokio::spawn(poll(question, || true, AddressSender::new(3, queue)));
            server.set(Mode::ServFail);
            for _ in 0..4 {
                let report = reported.recv().await.unwrap();
                let DiscoveryOutcome::Unsure(reason) = report.outcome else { panic!("an answer") };
                assert!(report.method == 3 && reason.contains("SERVFAIL"), "{reason}");
            }
            assert_eq!(told(), (1, 0));
            server.set(Mode::NxDomain);
            while reported.recv().await.unwrap().outcome != DiscoveryOutcome::Nobody {}
            server.set(Mode::Records);
            server.show("127.0.0.9".parse().unwrap());
            let expected = DiscoveryOutcome::Found(vec!["/ip4/127.0.0.9/tcp/7".parse().unwrap()]);
            while reported.recv().await.unwrap().outcome != expected {}
            assert_eq!(told(), (1, 1));
            drop(reported);
            polling.await.expect("it ends with the driver");
        });
    }
}
