//! W2: two replicas share a state. X adds 5 to every region as writer 0, and Y adds 7 as writer 1.
//! Then X joins Y.

use std::hint::black_box;

use super::nanoseconds;
use crate::contender::Contender;
use crate::sample::Sample;
use crate::shape::Shape;

/// Both sides of one contender's join.
#[derive(Debug)]
pub struct Join<'a, C: Contender> {
    shape: &'a Shape,
    x: C::State,
    y: C::State,
    joined: C::State,
    bytes: Vec<u8>,
    /// True if the join gave the right numbers.
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
    /// Builds both sides, and checks the answer once.
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

    /// The joins between two readings of the clock, and how many such batches a round has.
    fn batches(&self) -> (usize, usize) {
        let regions = self.shape.regions();
        ((512 / regions).clamp(1, 16), (20_000 / regions).clamp(1, 40))
    }

    /// The operations of one round, the same for every workload here.
    pub fn operations_per_round(&self) -> usize {
        let (batch, batches) = self.batches();
        batch * batches
    }

    /// One round: `run` gets fresh copies of both sides. Making and dropping them is not timed.
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

    /// X joins Y, with every region changed on both sides.
    pub fn join(&self) -> Sample {
        self.round(|| (C::copy(&self.x), C::copy(&self.y)), C::join)
    }

    /// A join that brings nothing new.
    pub fn join_again(&self) -> Sample {
        self.round(|| (C::copy(&self.joined), C::copy(&self.y)), C::join)
    }

    /// Encodes Y's whole state, decodes it and joins it into X.
    pub fn send(&self) -> Sample {
        self.round(|| (C::copy(&self.x), C::copy(&self.y)), |x, y| C::receive(x, &C::encode(y)))
    }

    /// Encodes the whole state.
    pub fn encode(&self) -> Sample {
        self.round(|| (C::copy(&self.joined), C::empty(0)), |x, _| drop(black_box(C::encode(x))))
    }

    /// Decodes Y's bytes and joins them into X.
    pub fn receive(&self) -> Sample {
        self.round(|| (C::copy(&self.x), C::empty(0)), |x, _| C::receive(x, &self.bytes))
    }

    /// The joined state.
    pub fn joined(&self) -> &C::State {
        &self.joined
    }

    /// The encoded size of the joined state.
    pub fn bytes(&self) -> usize {
        C::encode(&self.joined).len()
    }
}

/// The heap that the joined state takes, in bytes.
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
