//! Arbitrary bytes are refused, or they are a delta that encodes and reads back. If the envelope is
//! missing, it is added first.
#![no_main]

use counter_core::Delta;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let head = [&[0x82, 1, 0x5a][..], &(body.len() as u32).to_be_bytes(), body].concat();
    for bytes in [body, &head] {
        if let Ok(delta) = Delta::decode(bytes) {
            let encoded = delta.encode();
            assert_eq!(Delta::decode(&encoded).as_ref(), Ok(&delta));
            assert_eq!(delta.encode(), encoded);
        }
    }
});
