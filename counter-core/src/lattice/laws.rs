//! Checks the laws of a lattice, and of a lattice with deltas, on samples. A test takes one line
//! for each lattice.
//!
//! The samples are states that one history could have reached: if each cell has one writer, two
//! samples never hold different contents of one version. A check panics with the name of the law
//! and the samples that break it. Sources: Shapiro et al. 2011, section 2 (join semilattices);
//! Almeida, Shoker, Baquero 2018, sections 4 and 5 (deltas, delta intervals).
//!
//! ```
//! use counter_core::laws::{self, Lattice};
//!
//! /// The highest bid so far.
//! #[derive(Clone, Debug, Default, PartialEq)]
//! struct HighestBid(u64);
//!
//! impl Lattice for HighestBid {
//!     fn join(&mut self, other: &Self) {
//!         self.0 = self.0.max(other.0);
//!     }
//! }
//!
//! laws::check(&[HighestBid(3), HighestBid(7), HighestBid(7), HighestBid(1)]);
//! ```
//!
//! A join that adds instead of taking the greater is caught: it is not idempotent.
//!
//! ```should_panic
//! # use counter_core::laws::{self, Lattice};
//! #[derive(Clone, Debug, Default, PartialEq)]
//! struct SumOfBids(u64);
//!
//! impl Lattice for SumOfBids {
//!     fn join(&mut self, other: &Self) {
//!         self.0 += other.0;
//!     }
//! }
//!
//! laws::check(&[SumOfBids(3), SumOfBids(7)]);
//! ```

use std::fmt::Debug;

use crate::lattice::cell::amounts::Amounts;
use crate::lattice::cell::pn_counter::PnCounter;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::delta::Delta;
use crate::lattice::versions::VersionVector;

/// A join semilattice whose least element is its default.
pub trait Lattice: Clone + Debug + Default + PartialEq {
    /// Becomes the least upper bound of both.
    fn join(&mut self, other: &Self);
}

/// A lattice whose states travel in parts.
pub trait DeltaLattice: Lattice {
    /// A small state.
    type Delta: Clone + Debug + PartialEq;

    /// The part of this state that a holder of `held` lacks.
    fn delta_since(&self, held: &Self) -> Self::Delta;

    /// Joins a delta. It has no effect if it does not follow the held state.
    fn join_delta(&mut self, delta: &Self::Delta);

    /// The bytes of a delta. Equal deltas have equal bytes.
    fn encode(delta: &Self::Delta) -> Vec<u8>;

    /// Reads the bytes of [`encode`](Self::encode); None for any others.
    fn decode(bytes: &[u8]) -> Option<Self::Delta>;

    /// A hash of the content, as the lattice maintains it while it changes.
    fn content_hash(&mut self) -> u128;
}

/// Checks that join is idempotent, commutative and associative, that the default is its bottom, and
/// that a join is the least upper bound. O(samples cubed).
///
/// # Panics
/// At the first law that is broken.
pub fn check<L: Lattice>(samples: &[L]) {
    let bottom = L::default();
    for a in samples {
        assert_eq!(joined(a, a), *a, "idempotent: a state joined with itself is itself");
        assert_eq!(joined(a, &bottom), *a, "bottom: joining the default changes nothing");
        assert_eq!(joined(&bottom, a), *a, "bottom: the default joined with a state is that state");
        for b in samples {
            let ab = joined(a, b);
            assert_eq!(ab, joined(b, a), "commutative: of {a:?} and {b:?}");
            assert_eq!(
                joined(&ab, a),
                ab,
                "upper bound: {a:?} joined with {b:?} contains the first"
            );
            assert_eq!(
                joined(&ab, b),
                ab,
                "upper bound: {a:?} joined with {b:?} contains the second"
            );
            for c in samples {
                assert_eq!(
                    joined(&ab, c),
                    joined(a, &joined(b, c)),
                    "associative: of {a:?}, {b:?} and {c:?}"
                );
                if is_within(a, c) && is_within(b, c) {
                    assert!(
                        is_within(&ab, c),
                        "least: {c:?} is above {a:?} and {b:?} but not above their join"
                    );
                }
            }
        }
    }
}

/// Checks the laws of [`check`] and these: a joined delta is the change that it was cut from.
/// Deltas may come in any order, twice or never, and one more delta heals every loss. Encoded
/// deltas decode to equal deltas. Equal contents, and only these, have equal hashes. O(samples
/// cubed).
///
/// # Panics
/// At the first law that is broken.
pub fn check_deltas<L: DeltaLattice>(samples: &[L]) {
    check(samples);
    for a in samples {
        bytes_read_back(a);
        for b in samples {
            delta_is_the_mutation(a, b);
        }
    }
    for (a, b) in samples.iter().flat_map(|a| samples.iter().map(move |b| (a, b))) {
        hash_is_of_the_content(a, b);
    }
    whole_deltas_in_any_order(samples);
    interval_deltas_in_any_order(samples);
}

fn joined<L: Lattice>(a: &L, b: &L) -> L {
    let mut joined = a.clone();
    joined.join(b);
    joined
}

fn is_within<L: Lattice>(a: &L, b: &L) -> bool {
    joined(a, b) == *b
}

fn delta_is_the_mutation<L: DeltaLattice>(a: &L, b: &L) {
    let above = joined(a, b);
    let delta = above.delta_since(a);
    let mut mutated = a.clone();
    mutated.join_delta(&delta);
    assert_eq!(mutated, above, "delta joined = mutation: from {a:?}");
    mutated.join_delta(&delta);
    assert_eq!(mutated, above, "a doubled delta changes nothing: from {a:?}");
}

fn bytes_read_back<L: DeltaLattice>(a: &L) {
    let delta = a.delta_since(&L::default());
    let bytes = L::encode(&delta);
    let read = L::decode(&bytes);
    assert_eq!(read.as_ref(), Some(&delta), "encode, then decode: of {a:?}");
    assert_eq!(
        read.map(|read| L::encode(&read)),
        Some(bytes),
        "equal deltas have equal bytes: of {a:?}"
    );
}

/// The hash maintained through a join must equal the hash of the same content built afresh, and
/// differ from hashes of other contents.
fn hash_is_of_the_content<L: DeltaLattice>(a: &L, b: &L) {
    let mut kept = a.clone();
    kept.content_hash();
    kept.join(b);
    let mut afresh = L::default();
    afresh.join_delta(&kept.delta_since(&L::default()));
    assert_eq!(
        kept.content_hash(),
        afresh.content_hash(),
        "hash equals content: {a:?} joined with {b:?}"
    );
    let hashes = (a.clone().content_hash(), b.clone().content_hash());
    assert_eq!(hashes.0 == hashes.1, a == b, "hashes are equal where states are: {a:?} and {b:?}");
}

fn whole_deltas_in_any_order<L: DeltaLattice>(samples: &[L]) {
    let all = samples.iter().fold(L::default(), |all, sample| joined(&all, sample));
    for first in 0..samples.len() {
        let mut here = L::default();
        for sample in samples.iter().cycle().skip(first).take(samples.len() + 1) {
            here.join_delta(&sample.delta_since(&L::default()));
        }
        assert_eq!(here, all, "deltas in any order and doubled: from sample {first} on");
    }
}

/// Joins the deltas of a growing state in any order, with some lost. Each delta starts where the
/// one before it ends. They never take anything away and never bring more than the whole, and one
/// delta since the held state heals everything.
fn interval_deltas_in_any_order<L: DeltaLattice>(samples: &[L]) {
    let (mut top, mut intervals) = (L::default(), Vec::new());
    for sample in samples {
        let above = joined(&top, sample);
        intervals.push(above.delta_since(&top));
        top = above;
    }
    for lost in 0..=intervals.len() {
        for first in 0..intervals.len() {
            let mut here = L::default();
            for at in (0..intervals.len())
                .rev()
                .map(|at| (at * 7 + first) % intervals.len())
                .filter(|&at| at != lost)
            {
                let before = here.clone();
                here.join_delta(&intervals[at]);
                here.join_delta(&intervals[(at + first) % intervals.len()]);
                assert!(is_within(&before, &here), "a delta takes nothing away: {before:?}");
                assert!(
                    is_within(&here, &top),
                    "a delta brings nothing that was not there: {here:?}"
                );
            }
            here.join_delta(&top.delta_since(&here));
            assert_eq!(here, top, "one delta since what is held heals what was lost");
        }
    }
}

impl Lattice for CounterMap {
    fn join(&mut self, other: &Self) {
        CounterMap::join(self, other);
    }
}

impl DeltaLattice for CounterMap {
    type Delta = Delta;

    fn delta_since(&self, held: &Self) -> Delta {
        CounterMap::delta_since(self, &held.version_vector())
    }

    fn join_delta(&mut self, delta: &Delta) {
        let joined = CounterMap::join_delta(self, delta);
        assert!(joined.is_ok(), "the samples pass no bound: {joined:?}");
    }

    fn encode(delta: &Delta) -> Vec<u8> {
        delta.encode()
    }

    fn decode(bytes: &[u8]) -> Option<Delta> {
        Delta::decode(bytes).ok()
    }

    fn content_hash(&mut self) -> u128 {
        self.state_hash().0
    }
}

impl Lattice for PnCounter {
    fn join(&mut self, other: &Self) {
        PnCounter::join(self, other);
    }
}

impl Lattice for VersionVector {
    fn join(&mut self, other: &Self) {
        VersionVector::join(self, other);
    }
}

impl Lattice for Amounts {
    fn join(&mut self, other: &Self) {
        *self = Amounts::join(*self, *other);
    }
}
