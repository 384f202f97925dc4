//! A state written from where it stands has the bytes of its delta.

use counter_core::{CounterMap, Delta, ReplicaId, VersionVector};

#[test]
fn a_state_and_its_delta_have_the_same_bytes() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut map = CounterMap::new();
        for _ in 0..random.usize(0..400) {
            let replica = ReplicaId::new(random.u64(1..4), 1);
            let (counter, region) =
                (format!("c{}", random.u8(0..3)), format!("r{}", random.u8(0..60)));
            match random.u8(0..40) {
                0 if seed % 2 == 0 => {
                    map.reset(replica, &counter, &region).unwrap();
                }
                1 => {
                    map.set_region(replica, &region).unwrap();
                }
                2 => {
                    map.subtract(replica, &counter, &region, random.u64(1..1 << 30)).unwrap();
                }
                _ => {
                    map.add(replica, &counter, &region, random.u64(1..1 << 30)).unwrap();
                }
            }
        }
        let bytes = map.encode();
        assert_eq!(bytes, map.delta_since(&VersionVector::new()).encode(), "seed {seed}");
        let mut back = CounterMap::new();
        back.join_delta(&Delta::decode(&bytes).unwrap()).unwrap();
        assert_eq!(
            (back.state_hash(), back.total_of_all()),
            (map.state_hash(), map.total_of_all()),
            "seed {seed}"
        );
    }
}
