//! A name server over UDP, complete enough for a resolver.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::UdpSocket;

/// The way the server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With its records, if any, whatever the name.
    #[default]
    Records,
    NxDomain,
    ServFail,
    Refused,
    /// SERVFAIL for AAAA, records for A.
    ServFailForV6,
    /// Not at all.
    Silent,
}

/// A name server with one name. The test may change its addresses.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Zone>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Zone {
    contents: Mutex<(Mode, BTreeSet<IpAddr>)>,
    questions: AtomicUsize,
}

impl Zone {
    fn contents(&self) -> MutexGuard<'_, (Mode, BTreeSet<IpAddr>)> {
        self.contents.lock().expect("sound")
    }
}

impl NameServer {
    pub(crate) async fn start(at: &str) -> Self {
        let socket = UdpSocket::bind(at).await.expect("a port");
        let address = socket.local_addr().expect("bound");
        let zone = Arc::new(Zone::default());
        let served = Arc::clone(&zone);
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                served.questions.fetch_add(1, Ordering::Relaxed);
                let (mode, records) = served.contents().clone();
                if let Some(answer) = answer(&question[..length], mode, &records) {
                    socket.send_to(&answer, from).await.expect("the network takes it");
                }
            }
        });
        Self { address, zone, task }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.zone.contents().0 = mode;
    }

    pub(crate) fn show(&self, ip: IpAddr) {
        self.zone.contents().1.insert(ip);
    }

    pub(crate) fn hide(&self, ip: IpAddr) {
        self.zone.contents().1.remove(&ip);
    }

    /// The number of questions so far.
    pub(crate) fn questions(&self) -> usize {
        self.zone.questions.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;

/// An answer after RFC 1035: the header and the question, then the records of the type asked for.
fn answer(question: &[u8], mode: Mode, records: &BTreeSet<IpAddr>) -> Option<Vec<u8>> {
    let name_length = question[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 1;
    let end = 12 + name_length + 4;
    let asked = u16::from_be_bytes([question[end - 4], question[end - 3]]);
    let code = match mode {
        Mode::Silent => return None,
        Mode::ServFail => 2,
        Mode::ServFailForV6 if asked == AAAA => 2,
        Mode::NxDomain => 3,
        Mode::Refused => 5,
        Mode::Records | Mode::ServFailForV6 => 0,
    };
    let fits = |ip: &&IpAddr| code == 0 && asked == if ip.is_ipv4() { A } else { AAAA };
    let fitting: Vec<Vec<u8>> = records
        .iter()
        .filter(fits)
        .map(|ip| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        })
        .collect();
    let mut answer = [
        &question[..2],
        &[0x85, 0x80 | code, 0, 1, 0, fitting.len() as u8, 0, 0, 0, 0],
        &question[12..end],
    ]
    .concat();
    for data in fitting {
        answer.extend([0xc0, 12]);
        answer.extend(asked.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 1, 0, data.len() as u8]);
        answer.extend(data);
    }
    Some(answer)
}
