//! Deltas and digests as bytes: the format, bytes from strangers, and the memory that they take.

mod arbitrary;
mod golden;
mod hostile;
mod memory;

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// `[1, body]` with a four-byte length.
fn envelope(body: &[u8]) -> Vec<u8> {
    [&[0x82, 1, 0x5a][..], &(body.len() as u32).to_be_bytes(), body].concat()
}
