//! The bound of fan-out: one thread that counts adds and writes the same coalesced bytes to every
//! socket, in a loop. No state, no limits, no safety.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::system::Measured;

/// The total and the clients that see it.
#[derive(Default)]
struct BareTopic {
    total: Cell<i64>,
    changed: Notify,
    clients: RefCell<Vec<Rc<TcpStream>>>,
}

/// Serves until it is killed. Its first line of output is its address.
///
/// # Errors
/// No free port.
pub async fn raw_write_loop() -> Measured<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{{\"http\":\"{}\"}}", listener.local_addr()?);
    let topic = Rc::new(BareTopic::default());
    tokio::task::LocalSet::new()
        .run_until(async {
            tokio::task::spawn_local(write_to_all(Rc::clone(&topic)));
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::task::spawn_local(serve(Rc::clone(&topic), stream));
            }
        })
        .await
}

async fn write_to_all(topic: Rc<BareTopic>) {
    loop {
        topic.changed.notified().await;
        let text = json("change", &topic);
        let mut waiting: Vec<Rc<TcpStream>> = topic.clients.borrow().clone();
        while !waiting.is_empty() {
            waiting.retain(|client| {
                client
                    .try_write(&text)
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
            });
            if !waiting.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// Serves one client: its handshake, then its adds. Drops a client that breaks.
async fn serve(topic: Rc<BareTopic>, mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(1024);
    while !buffer.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            return;
        }
    }
    buffer.clear();
    let opening = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let stream = Rc::new(stream);
    let _written = stream.try_write(&[opening.as_bytes(), &json("state", &topic)].concat());
    topic.clients.borrow_mut().push(Rc::clone(&stream));
    let ack = frame("{\"type\":\"ack\",\"id\":\"bench:0\"}");
    while stream.readable().await.is_ok() {
        let mut piece = [0; 4096];
        match stream.try_read(&mut piece) {
            Ok(0) => return,
            Ok(bytes) => buffer.extend_from_slice(&piece[..bytes]),
            Err(_) => continue,
        }
        let adds = take_adds(&mut buffer);
        topic.total.set(topic.total.get() + adds);
        let _written = stream.try_write(&ack.repeat(adds as usize));
        topic.changed.notify_one();
    }
}

/// Takes out whole frames. Each is an add of 1, with a masked payload below 126 bytes.
fn take_adds(buffer: &mut Vec<u8>) -> i64 {
    let (mut at, mut adds) = (0, 0);
    while let Some(length) = buffer
        .get(at + 1)
        .map(|byte| 6 + usize::from(byte & 0x7f))
        .filter(|length| at + length <= buffer.len())
    {
        at += length;
        adds += 1;
    }
    buffer.drain(..at);
    adds
}

fn json(kind: &str, topic: &BareTopic) -> Vec<u8> {
    let (total, clients) = (topic.total.get(), topic.clients.borrow().len());
    frame(&format!(
        "{{\"type\":\"{kind}\",\"total\":{total},\"regions\":{{\"ord\":{{\"value\":{total},\"connected\":{clients},\"nodes\":1}}}},\
         \"state_hash\":\"{total:032x}\",\"synced\":true}}"
    ))
}

/// An unmasked text frame of less than 64 KiB.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length) if length < 126 => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}
