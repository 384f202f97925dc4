//! A name server over UDP, real enough for a resolver.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// A name server with one name, whose addresses the test may change.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    records: Arc<Mutex<BTreeSet<IpAddr>>>,
    task: tokio::task::JoinHandle<()>,
}

impl NameServer {
    pub(crate) async fn start(at: &str) -> Self {
        let socket = UdpSocket::bind(at).await.expect("a port");
        let address = socket.local_addr().expect("bound");
        let records = Arc::new(Mutex::new(BTreeSet::new()));
        let shown = Arc::clone(&records);
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..length], &shown.lock().expect("sound"));
                socket.send_to(&answer, from).await.expect("the network takes it");
            }
        });
        Self { address, records, task }
    }

    pub(crate) fn show(&self, ip: IpAddr) {
        self.records.lock().expect("sound").insert(ip);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// RFC 1035: the question's header and question, then the records of the type that was asked for (1 is A, 28 is AAAA).
fn answer(question: &[u8], records: &BTreeSet<IpAddr>) -> Vec<u8> {
    let name_length = question[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 1;
    let end = 12 + name_length + 4;
    let asked = u16::from_be_bytes([question[end - 4], question[end - 3]]);
    let fitting: Vec<Vec<u8>> = records
        .iter()
        .filter_map(|ip| match ip {
            IpAddr::V4(ip) if asked == 1 => Some(ip.octets().to_vec()),
            IpAddr::V6(ip) if asked == 28 => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut answer = [&question[..2], &[0x85, 0x80, 0, 1, 0, fitting.len() as u8, 0, 0, 0, 0], &question[12..end]].concat();
    for data in fitting {
        answer.extend([0xc0, 12]);
        answer.extend(asked.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 1, 0, data.len() as u8]);
        answer.extend(data);
    }
    answer
}
