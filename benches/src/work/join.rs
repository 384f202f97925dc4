//! W2: two replicas that share a state; X added 5 as writer 0 to every region, Y added 7 as writer
//! 1; X joins Y.

use std::hint::black_box;

use super::nanoseconds;
use crate::contender::Contender;
use crate::sample::Sample;
use crate::shape::Shape;

/// Both sides of the join of one contender.
#[derive(Debug)]
pub struct Join<'a, C: Contender> {
    shape: &'a Shape,
    x: C::State,
    y: C::State,
    joined: C::State,
    bytes: Vec<u8>,
    /// Whether the join gave the right numbers.
    pub right: bool,
}

fn right<C: Contender>(shape: &Shape, state: &C::State) -> bool {
    let step = (shape.regions() / 50).max(1);
    C::sum(state) == shape.sum_joined()
        && (0..shape.regions())
            .step_by(step)
            .all(|region| C::value(state, &shape.names[region]) == shape.value_joined(region))
}

impl<'a, C: Contender> Join<'a, C> {
    /// Makes both sides, and checks the answer once.
    pub fn new(shape: &'a Shape) -> Self {
        let (x, y) = C::sides(shape);
        let bytes = C::encode(&y);
        let mut joined = C::copy(&x);
        C::join(&mut joined, &mut C::copy(&y));
        let mut received = C::copy(&x);
        C::receive(&mut received, &bytes);
        let right = right::<C>(shape, &joined) && right::<C>(shape, &received);
        Self { shape, x, y, joined, bytes, right }
    }

    /// Joins that fit into one reading of the clock, and how often that is done.
    fn batches(&self) -> (usize, usize) {
        let regions = self.shape.regions();
        ((512 / regions).clamp(1, 16), (20_000 / regions).clamp(1, 40))
    }

    /// How many operations a round of any of these works does.
    pub fn operations_per_round(&self) -> usize {
        let (batch, batches) = self.batches();
        batch * batches
    }

    /// One round: `run` takes fresh copies of both sides, whose making is not timed. Nor is
    /// dropping them.
    fn round(
        &self,
        mut from: impl FnMut() -> (C::State, C::State),
        run: impl Fn(&mut C::State, &mut C::State),
    ) -> Sample {
        let (batch, batches) = self.batches();
        let (mut total, mut last_right) = (0.0, true);
        for at in 0..batches {
            let mut pairs: Vec<_> = (0..batch).map(|_| from()).collect();
            total +=
                nanoseconds(|| pairs.iter_mut().for_each(|(x, y)| run(black_box(x), black_box(y))));
            if at == 0 {
                last_right = right::<C>(self.shape, &pairs[0].0);
            }
        }
        Sample { nanoseconds: total / (batch * batches) as f64, right: self.right && last_right }
    }

    /// X joins Y, every region changed on both sides.
    pub fn join(&self) -> Sample {
        self.round(|| (C::copy(&self.x), C::copy(&self.y)), C::join)
    }

    /// A join that brings nothing new.
    pub fn join_again(&self) -> Sample {
        self.round(|| (C::copy(&self.joined), C::copy(&self.y)), C::join)
    }

    /// Y's whole state into bytes, decoded, and joined into X.
    pub fn send(&self) -> Sample {
        self.round(|| (C::copy(&self.x), C::copy(&self.y)), |x, y| C::receive(x, &C::encode(y)))
    }

    /// The whole state into bytes.
    pub fn encode(&self) -> Sample {
        self.round(|| (C::copy(&self.joined), C::empty(0)), |x, _| drop(black_box(C::encode(x))))
    }

    /// Decoding Y's bytes and joining them into X.
    pub fn receive(&self) -> Sample {
        self.round(|| (C::copy(&self.x), C::empty(0)), |x, _| C::receive(x, &self.bytes))
    }

    /// The joined state.
    pub fn joined(&self) -> &C::State {
        &self.joined
    }

    /// Bytes of the joined state.
    pub fn bytes(&self) -> usize {
        C::encode(&self.joined).len()
    }
}

/// Bytes of heap of the state that comes of X joining Y.
pub fn heap_of<C: Contender>(shape: &Shape) -> u64 {
    let mut kept = None;
    let counted = allocation_counter::measure(|| {
        let (mut x, mut y) = C::sides(shape);
        C::join(&mut x, &mut y);
        drop(y);
        kept = Some(x);
    });
    drop(kept);
    counted.bytes_current.max(0) as u64
}
