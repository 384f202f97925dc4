//! The laws, on states of random histories. Lattices that are broken on purpose must be caught.

use counter_core::laws::{self, DeltaLattice, Lattice};
use counter_core::{Amounts, CounterMap, PnCounter, ReplicaId, VersionVector};

/// States of one history of three writers, resets and records included.
fn states(seed: u64) -> Vec<CounterMap> {
    let mut random = fastrand::Rng::with_seed(seed);
    let ids: Vec<ReplicaId> = (1..=3).map(|node| ReplicaId::new(node, 1)).collect();
    let mut maps = vec![CounterMap::new(); ids.len()];
    let mut states = Vec::new();
    for _ in 0..24 {
        let at = random.usize(..ids.len());
        let counter = ["clicks", "likes"][random.usize(..2)];
        let region = ["ord", "fra", "sin"][random.usize(..3)];
        match random.u8(..10) {
            0..5 => drop(maps[at].add(ids[at], counter, region, random.u64(1..100))),
            5..7 => drop(maps[at].subtract(ids[at], counter, region, random.u64(1..100))),
            7 => _ = maps[at].reset(ids[at], counter, region),
            8 => drop(maps[at].set_region(ids[at], region)),
            _ => {
                let other = maps[random.usize(..ids.len())].clone();
                maps[at].join(&other);
            }
        }
        if random.u8(..4) == 0 {
            states.push(maps[at].clone());
        }
    }
    states.extend(maps);
    states
}

#[test]
fn counter_map_keeps_the_laws() {
    (0..12).for_each(|seed| laws::check_deltas(&states(seed)));
}

#[test]
fn pn_counter_keeps_the_laws() {
    for seed in 0..60 {
        laws::check(
            &states(seed)
                .iter()
                .map(|map| map.pn_counter("clicks", "ord"))
                .collect::<Vec<PnCounter>>(),
        );
    }
}

#[test]
fn version_vector_keeps_the_laws() {
    for seed in 0..60 {
        laws::check(
            &states(seed).iter().map(CounterMap::version_vector).collect::<Vec<VersionVector>>(),
        );
    }
}

#[test]
fn amounts_keep_the_laws() {
    let amounts = |(increments, decrements)| Amounts { increments, decrements };
    laws::check(&[(0, 0), (1, 5), (5, 1), (u64::MAX, 0)].map(amounts));
}

/// An embedder's own lattice: the highest price of each of three goods. The delta is a price list
/// with zeros where nothing changed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Prices<const BROKEN: u8>([u8; 3]);

const SOUND: u8 = 0;
const ADDS: u8 = 1;
const LAST_WINS: u8 = 2;
const DELTA_FORGETS: u8 = 3;
const BYTES_CUT: u8 = 4;
const HASH_OF_LENGTH: u8 = 5;

impl<const BROKEN: u8> Lattice for Prices<BROKEN> {
    fn join(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = match BROKEN {
                ADDS => mine.wrapping_add(theirs),
                LAST_WINS if theirs > 0 => theirs,
                _ => theirs.max(*mine),
            };
        }
    }
}

impl<const BROKEN: u8> DeltaLattice for Prices<BROKEN> {
    type Delta = [u8; 3];

    fn delta_since(&self, held: &Self) -> [u8; 3] {
        let kept = if BROKEN == DELTA_FORGETS { 2 } else { 3 };
        std::array::from_fn(|at| if at < kept && self.0[at] > held.0[at] { self.0[at] } else { 0 })
    }

    fn join_delta(&mut self, delta: &[u8; 3]) {
        self.join(&Self(*delta));
    }

    fn encode(delta: &[u8; 3]) -> Vec<u8> {
        delta[..if BROKEN == BYTES_CUT { 2 } else { 3 }].to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<[u8; 3]> {
        let mut delta = [0; 3];
        delta.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(delta)
    }

    fn content_hash(&mut self) -> u128 {
        if BROKEN == HASH_OF_LENGTH {
            3
        } else {
            u128::from(u32::from_be_bytes([0, self.0[0], self.0[1], self.0[2]]))
        }
    }
}

fn prices<const BROKEN: u8>() -> Vec<Prices<BROKEN>> {
    [[1, 0, 9], [0, 4, 2], [7, 4, 0]].map(Prices).to_vec()
}

#[test]
fn own_lattice_is_checked_in_one_line() {
    laws::check_deltas(&prices::<SOUND>());
}

#[test]
#[should_panic(expected = "idempotent")]
fn a_join_that_adds_is_caught() {
    laws::check(&prices::<ADDS>());
}

#[test]
#[should_panic(expected = "commutative")]
fn join_where_the_last_wins_is_caught() {
    laws::check(&prices::<LAST_WINS>());
}

#[test]
#[should_panic(expected = "delta joined = mutation")]
fn incomplete_delta_is_caught() {
    laws::check_deltas(&prices::<DELTA_FORGETS>());
}

#[test]
#[should_panic(expected = "encode, then decode")]
fn lossy_bytes_are_caught() {
    laws::check_deltas(&prices::<BYTES_CUT>());
}

#[test]
#[should_panic(expected = "hashes are equal where states are")]
fn hash_blind_to_content_is_caught() {
    laws::check_deltas(&prices::<HASH_OF_LENGTH>());
}
